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

describe('the public API', () => {
  it('exports the types that its own signatures mention', () => {
    const config = ts.getParsedCommandLineOfConfigFile(`${root}tsconfig.json`, undefined, {
      ...ts.sys,
      onUnRecoverableConfigFileDiagnostic: () => {},
    });
    const files = ENTRIES.map((entry) => `${root}src/${entry}.ts`);
    const program = ts.createProgram(files, config?.options ?? {});
    expect(files.flatMap((file) => missingTypes(program, file).map((name) => `${file}: ${name}`))).toEqual([]);
  }, 60_000);
});
