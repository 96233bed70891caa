import { Argument } from 'commander';
import { COMPLETE } from '../execute.js';
import type { Define } from '../program.js';

/*
 * Each script passes the words of the line to `deribit-keys __complete`, which prints a candidate a line, a tab and its
 * description. Where it prints nothing, the shell completes file names.
 */

const BASH = `# bash completion of deribit-keys: source <(deribit-keys completion bash)
_deribit_keys() {
  local line words cur
  # a colon ends a word for bash, but not for deribit-keys: the words are taken from the line
  read -ra words <<< "\${COMP_LINE:0:COMP_POINT}"
  [[ "\${COMP_LINE:0:COMP_POINT}" == *[[:space:]] ]] && words+=("")
  cur=\${words[-1]}
  COMPREPLY=()
  while IFS=$'\\t' read -r line _; do
    [[ -z $line ]] && continue
    [[ $cur == *:* && $COMP_WORDBREAKS == *:* ]] && line=\${line#"\${cur%"\${cur##*:}"}"}
    COMPREPLY+=("$line")
  done < <("\${words[0]}" ${COMPLETE} "\${words[@]:1}" 2>/dev/null)
}
complete -o bashdefault -o default -F _deribit_keys deribit-keys
`;

const ZSH = `#compdef deribit-keys
# zsh completion of deribit-keys: put this into a file named _deribit-keys in a folder of $fpath
_deribit_keys() {
  local -a lines
  local line help
  for line in "\${(@f)$("\${words[1]}" ${COMPLETE} "\${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
    help=\${line#*$'\\t'}
    [[ -n $line ]] && lines+=("\${\${line%%$'\\t'*}//:/\\\\:}\${help:+:$help}")
  done
  if (( \${#lines} )); then _describe 'deribit-keys' lines; else _files; fi
}
if [[ \${funcstack[1]} == _deribit_keys ]]; then _deribit_keys; else compdef _deribit_keys deribit-keys; fi
`;

const FISH = `# fish completion of deribit-keys: deribit-keys completion fish > ~/.config/fish/completions/deribit-keys.fish
function __deribit_keys
  set -l words (commandline -opc) (commandline -ct)
  set -l lines ($words[1] ${COMPLETE} $words[2..-1] 2>/dev/null)
  if test (count $lines) -gt 0
    printf '%s\\n' $lines
  else
    __fish_complete_path (commandline -ct)
  end
end
complete -c deribit-keys -f -a '(__deribit_keys)'
`;

const POWERSHELL = `# PowerShell completion of deribit-keys: deribit-keys completion powershell >> $PROFILE
Register-ArgumentCompleter -Native -CommandName deribit-keys -ScriptBlock {
  param($wordToComplete, $commandAst, $cursorPosition)
  $words = @($commandAst.CommandElements | Select-Object -Skip 1 | Where-Object { $_.Extent.EndOffset -lt $cursorPosition } | ForEach-Object { $_.ToString() })
  deribit-keys ${COMPLETE} @words "$wordToComplete" 2>$null | Where-Object { $_ } | ForEach-Object {
    $text, $help = $_ -split "\`t", 2
    if (-not $help) { $help = $text }
    [System.Management.Automation.CompletionResult]::new($text, $text, 'ParameterValue', $help)
  }
}
`;

const SCRIPTS = { bash: BASH, zsh: ZSH, fish: FISH, powershell: POWERSHELL } as const;

export const define: Define = (command, { look }) => {
  command
    .addArgument(new Argument('<shell>').choices(Object.keys(SCRIPTS)))
    .examples(
      '$ source <(deribit-keys completion bash)   # in ~/.bashrc',
      '$ deribit-keys completion fish > ~/.config/fish/completions/deribit-keys.fish',
    )
    .action(
      look(async (cx, shell: keyof typeof SCRIPTS) => {
        const script = SCRIPTS[shell];
        cx.out.result({ shell, script }, () => script);
      }),
    );
};
