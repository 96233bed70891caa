import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const ENTRIES = ['index', 'crypto/index', 'session/index', 'sandbox/index', 'integrations/ccxt/with-signer'];

/** The types of this package that the signatures of an entry's exports mention and the entry does not export. */
function missingTypes(program: ts.Program, entry: string): readonly string[] {
  const checker = program.getTypeChecker();
  const file = program.getSourceFile(entry);
  const module = file === undefined ? undefined : checker.getSymbolAtLocation(file);
  if (module === undefined) throw new Error(`${entry} has no exports`);
  const real = (symbol: ts.Symbol) => (symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol);
  const exported = new Set(checker.getExportsOfModule(module).map(real));
  const missing = new Set<string>();
  const mention = (name: ts.Node) => {
    const found = checker.getSymbolAtLocation(name);
    if (found === undefined) return;
    const symbol = real(found);
    const isOurs = symbol.declarations?.[0]?.getSourceFile().fileName.startsWith(`${root}src/`) === true;
    if (isOurs && !exported.has(symbol) && !(symbol.flags & ts.SymbolFlags.TypeParameter)) missing.add(symbol.name);
  };
  const visit = (node: ts.Node): void => {
    if (ts.isBlock(node)) return;
    if (ts.isPropertyDeclaration(node) && ts.isPrivateIdentifier(node.name)) return;
    if (ts.canHaveModifiers(node) && node.modifiers?.some(({ kind }) => kind === ts.SyntaxKind.PrivateKeyword)) return;
    if (ts.isVariableDeclaration(node) && node.initializer !== undefined && !ts.isArrowFunction(node.initializer)) {
      if (node.type !== undefined) visit(node.type);
      return;
    }
    if (ts.isTypeReferenceNode(node)) mention(node.typeName);
    if (ts.isExpressionWithTypeArguments(node)) mention(node.expression);
    ts.forEachChild(node, visit);
  };
  for (const symbol of exported) symbol.declarations?.forEach(visit);
  return [...missing].sort();
}

/** The code of the `@example`s in doc comments, and of the TypeScript in the pages, each as a file of its own. */
function examples(): ReadonlyMap<string, string> {
  const sources = readdirSync(`${root}src`, { recursive: true, encoding: 'utf8' }).filter((file) => /\.ts$/.test(file));
  const inComments = sources.flatMap((file) =>
    [...readFileSync(`${root}src/${file}`, 'utf8').matchAll(/@example\n((?: +\* .*\n)+)/g)].map((match) => {
      const code = (match[1] ?? '').replace(/^ +\* /gm, '');
      return `import type { Session } from 'deribit-keys';\ndeclare const session: Session;\n${code}\nexport {};\n`;
    }),
  );
  const pages = [
    'README.md',
    'examples/deploy/README.md',
    ...readdirSync(`${root}src`).map((folder) => `src/${folder}/README.md`),
  ];
  const inPages = pages
    .filter((page) => existsSync(root + page))
    .flatMap((page) =>
      [...readFileSync(root + page, 'utf8').matchAll(/^```ts\n(.*?)^```/gms)].map(
        (match) => `${match[1]}\nexport {};\n`,
      ),
    );
  return new Map([...inComments, ...inPages].map((code, index) => [`${root}test/example-${index}.ts`, code]));
}

/** What the examples leave to their reader. */
const LEFT_OPEN = `declare const publicKey: string;
declare function signSomewhere(message: Uint8Array): Promise<Uint8Array>;
declare function readPinFromSomewhere(): Promise<string>;
declare function readTokenFromSomewhere(): Promise<string>;
`;

const config = ts.getParsedCommandLineOfConfigFile(`${root}tsconfig.json`, undefined, {
  ...ts.sys,
  onUnRecoverableConfigFileDiagnostic: () => {},
});
const files = ENTRIES.map((entry) => `${root}src/${entry}.ts`);
const snippets = new Map([...examples(), [`${root}test/left-open.d.ts`, LEFT_OPEN]]);
const options: ts.CompilerOptions = {
  ...config?.options,
  rootDir: root,
  noUnusedLocals: false,
  paths: {
    'deribit-keys': ['./src/index.ts'],
    'deribit-keys/ccxt': ['./src/integrations/ccxt/with-signer.ts'],
    'deribit-keys/*': ['./src/*/index.ts'],
  },
};
const host = ts.createCompilerHost(options);
const program = ts.createProgram([...files, ...snippets.keys()], options, {
  ...host,
  fileExists: (file) => snippets.has(file) || host.fileExists(file),
  readFile: (file) => snippets.get(file) ?? host.readFile(file),
  getSourceFile: (file, version, ...rest) => {
    const code = snippets.get(file);
    return code === undefined ? host.getSourceFile(file, version, ...rest) : ts.createSourceFile(file, code, version);
  },
});

describe('the public API', () => {
  it('exports the types that its own signatures mention', () => {
    expect(files.flatMap((file) => missingTypes(program, file).map((name) => `${file}: ${name}`))).toEqual([]);
  }, 60_000);

  it('is used as its examples use it: they type-check', () => {
    expect(snippets.size).toBeGreaterThan(2);
    const found = [...snippets].flatMap(([file, code]) => {
      const source = program.getSourceFile(file);
      const diagnostics = [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)];
      return diagnostics.map(({ messageText }) => `${ts.flattenDiagnosticMessageText(messageText, ' ')} in:\n${code}`);
    });
    expect(found).toEqual([]);
  }, 60_000);
});
