/**
 * Derives `deribit.json` (required fields and types of every method's result, and the parameters that a generated client
 * sends) from Deribit's OpenAPI description.
 *
 *     node test/sandbox/shapes/derive.mjs OPENAPI.json && npx biome format --write test/sandbox/shapes/deribit.json
 *
 * A shape is `string`, `number`, `integer`, `boolean`, `object` or `any`; `=a|b` for one of these words; `@name` for a
 * type; `[shape]` for a list; `{field: shape, "optional?": shape}` for an object, in which other fields may stand;
 * `{"*": shape}` for an object with any fields of one shape; and `{"or": [shape, …]}`. A shape that ends in `?` may be null.
 * Where the description's own examples contradict its schema, the example is followed and the place is listed.
 */
import { readFileSync, writeFileSync } from 'node:fs';

/** Methods that no sandbox is for: block trading, wallets, custody, combos, chat, multicast. */
const leftOut =
  /block|rfq|withdraw|deposit|transfer|address|custody|combo|chat|multicast|affiliate|email|password|beneficiary|announcement|mmp|mass_quote|_quotes|pme|staking|portfolio_margins|simulate|margin_model|self_trading|notifications|verify_|toggle_|remove_subaccount|create_subaccount|language|reward|leaderboard/;

const description = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const { schemas, responses } = description.components;
const types = {};
const methods = {};
const requests = {};
const examplesFollowed = [];
const requiredButNotInExample = [];

for (const [path, { get, post }] of Object.entries(description.paths)) {
  const method = path.slice(1);
  if (leftOut.test(method)) continue;
  const content = resolved((get ?? post).responses['200'], responses).content?.['application/json'];
  if (content?.schema === undefined) continue;
  requests[method] = requestOf(get ?? post);
  const { result = {} } = propertiesOf(resolved(content.schema, schemas));
  methods[method] = shapeOf(result);
  for (const { value } of Object.values(content.examples ?? {})) {
    if (value?.result !== undefined) methods[method] = follow(methods[method], value.result, { method, at: 'result' });
  }
}

writeFileSync(
  new URL('deribit.json', import.meta.url),
  JSON.stringify({
    source: "Deribit's public OpenAPI description (docs.deribit.com), August 2026, by derive.mjs",
    examplesFollowed,
    requiredButNotInExample,
    requests: sorted(requests),
    methods: sorted(methods),
    types: sorted(types),
  }),
);

function resolved(node, pool) {
  return node?.$ref === undefined ? node : resolved(pool[node.$ref.split('/').at(-1)], pool);
}

/** The parameters of the description's example; those that are required and not in it, of the first word or type. */
function requestOf({ parameters = [], requestBody }) {
  const [example] = Object.values(requestBody?.content?.['application/json']?.examples ?? {});
  const required = parameters
    .map((parameter) => resolved(parameter, description.components.parameters ?? {}))
    .filter((parameter) => parameter.required)
    .map(({ name, schema }) => [name, sampleOf(resolved(schema, schemas))]);
  return { ...Object.fromEntries(required), ...example?.value?.params };
}

function sampleOf({ example, enum: words, type }) {
  return example ?? words?.[0] ?? { string: 'x', array: [] }[type] ?? 1;
}

function propertiesOf(schema) {
  return Object.assign(
    {},
    schema.properties,
    ...(schema.allOf ?? []).map((part) => propertiesOf(resolved(part, schemas))),
  );
}

function requiredOf(schema) {
  return [...(schema.required ?? []), ...(schema.allOf ?? []).flatMap((part) => requiredOf(resolved(part, schemas)))];
}

function shapeOf(schema) {
  if (schema?.$ref !== undefined) return named(schema.$ref.split('/').at(-1));
  const shape = bareShapeOf(schema ?? {});
  return schema?.nullable === true && typeof shape === 'string' ? `${shape}?` : shape;
}

/** Types of objects and lists keep their names; words and numbers are written where they are used. */
function named(name) {
  if (types[name] !== undefined) return `@${name}`;
  types[name] = 'any';
  const shape = shapeOf(schemas[name] ?? {});
  if (typeof shape === 'object') {
    types[name] = shape;
    return `@${name}`;
  }
  delete types[name];
  return shape;
}

function bareShapeOf(schema) {
  const alternatives = schema.oneOf ?? schema.anyOf;
  if (alternatives !== undefined) return { or: alternatives.map(shapeOf) };
  if (schema.enum?.every((word) => typeof word === 'string')) return `=${schema.enum.join('|')}`;
  if (schema.type === 'array') return [schema.items === undefined ? 'any' : shapeOf(schema.items)];
  if (schema.type === 'object' || schema.properties !== undefined || schema.allOf !== undefined) {
    const required = new Set(requiredOf(schema));
    const fields = Object.entries(propertiesOf(schema));
    if (fields.length === 0) {
      const { additionalProperties: others } = schema;
      return typeof others === 'object' ? { '*': shapeOf(others) } : 'object';
    }
    return Object.fromEntries(fields.map(([name, part]) => [required.has(name) ? name : `${name}?`, shapeOf(part)]));
  }
  return schema.type ?? 'any';
}

/** The shape, changed where the example contradicts it. */
function follow(shape, example, place) {
  if (typeof shape === 'string' && shape.startsWith('@')) {
    types[shape.slice(1)] = follow(types[shape.slice(1)], example, place);
    return shape;
  }
  if (!fitsOutside(shape, example)) {
    if (example === null && typeof shape === 'string') {
      examplesFollowed.push({ ...place, schema: shape, example: 'null' });
      return `${shape}?`;
    }
    const instead = shapeOfExample(example);
    const known = examplesFollowed.some(({ method, at }) => method === place.method && at === place.at);
    if (!known) examplesFollowed.push({ ...place, schema: kindOf(shape), example: instead });
    return instead;
  }
  if (Array.isArray(shape)) {
    const at = `${place.at}[]`;
    return [example.reduce((item, one) => follow(item, one, { ...place, at }), shape[0])];
  }
  if (typeof shape !== 'object' || shape.or !== undefined) return shape;
  const changed = {};
  for (const [name, part] of Object.entries(shape)) {
    const field = name.replace(/\?$/, '');
    const at = `${place.at}.${field}`;
    if (name === '*')
      changed[name] = Object.values(example).reduce((item, one) => follow(item, one, { ...place, at }), part);
    else if (field in example) changed[name] = follow(part, example[field], { ...place, at });
    else {
      changed[name] = part;
      const missing = `${place.method} ${at}`;
      if (name === field && !requiredButNotInExample.includes(missing)) requiredButNotInExample.push(missing);
    }
  }
  return changed;
}

/** Whether the example is of the shape's kind, whatever is inside of it. */
function fitsOutside(shape, example) {
  if (typeof shape === 'object') {
    if (Array.isArray(shape)) return Array.isArray(example);
    if (shape.or !== undefined) return true;
    return typeof example === 'object' && example !== null && !Array.isArray(example);
  }
  if (shape.endsWith('?') && example === null) return true;
  const kind = shape.replace(/\?$/, '');
  if (kind.startsWith('=')) return kind.slice(1).split('|').includes(example);
  if (kind === 'any') return true;
  if (kind === 'integer') return Number.isInteger(example);
  if (kind === 'object') return typeof example === 'object' && example !== null && !Array.isArray(example);
  return typeof example === kind;
}

function shapeOfExample(example) {
  if (Array.isArray(example)) return [example.length === 0 ? 'any' : shapeOfExample(example[0])];
  if (example === null) return 'any';
  if (typeof example !== 'object') return typeof example;
  return Object.fromEntries(Object.entries(example).map(([name, value]) => [name, shapeOfExample(value)]));
}

function kindOf(shape) {
  return Array.isArray(shape) ? 'list' : typeof shape === 'object' ? 'object' : shape;
}

function sorted(table) {
  return Object.fromEntries(Object.entries(table).sort(([a], [b]) => (a < b ? -1 : 1)));
}
