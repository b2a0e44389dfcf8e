import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve, sep } from 'node:path'
import ts from 'typescript'
import { describe, expect, it } from 'vitest'

interface Room {
  readonly folder: string
  readonly mayImport: readonly string[]
  /** Rooms of which only types may be imported. */
  readonly typesOf?: readonly string[]
  /** Single files of rooms that are otherwise closed: contracts, which import nothing. */
  readonly contracts?: readonly string[]
  readonly reason: string
}

/** Who may import whom. Every arrow points one way; the reason says what the room needs the others for. */
const ROOMS: Readonly<Record<string, Room>> = {
  base: { folder: 'src/base', mayImport: [], reason: 'the ground: errors, clock, randomness, files' },
  onnx: { folder: 'src/onnx', mayImport: ['base'], reason: 'files and graphs, before anything runs them' },
  engine: {
    folder: 'src/engine',
    mayImport: ['onnx', 'base'],
    reason: 'runs graphs and knows nothing of transformers',
  },
  model: {
    folder: 'src/model',
    mayImport: ['onnx', 'base'],
    reason: 'describes transformers and builds their graphs',
  },
  profile: {
    folder: 'src/profile',
    mayImport: ['model', 'base'],
    reason: 'figures about a model on a device',
  },
  measure: {
    folder: 'src/measure',
    mayImport: ['profile', 'model', 'engine', 'onnx', 'base'],
    reason: 'runs sub-blocks to fill a profile',
  },
  pretrained: {
    folder: 'src/pretrained',
    mayImport: ['model', 'onnx', 'base'],
    reason: 'opens weights and tokenizers that lie on disk; runs nothing',
  },
  pretrain: {
    folder: 'src/pretrain',
    mayImport: ['pretrained', 'model', 'engine', 'onnx', 'base'],
    reason: 'trains the built-in model',
  },
  wire: { folder: 'src/wire', mayImport: ['base'], reason: 'carries frames and knows nothing of models' },
  relay: {
    folder: 'src/relay',
    mayImport: ['trace', 'base'],
    reason: 'imposes a recorded link on any TCP connection',
  },
  execute: {
    folder: 'src/execute',
    mayImport: ['wire', 'plan', 'profile', 'model', 'engine', 'onnx', 'base'],
    reason: 'a plan becomes sessions and messages; weights, links and policies are handed in',
  },
  journal: {
    folder: 'src/journal',
    mayImport: ['base'],
    reason: 'what a device writes down as it goes, so that nothing is lost; knows no plan',
  },
  trust: {
    folder: 'src/trust',
    mayImport: ['base'],
    reason: 'keys, certificates and signatures; knows not what they are for',
  },
  api: {
    folder: 'src/api',
    mayImport: ['base'],
    typesOf: ['pretrained'],
    reason: 'speaks HTTP as OpenAI does; what stands behind it is handed in',
  },
  trace: {
    folder: 'src/trace',
    mayImport: ['journal', 'base'],
    reason: 'links and workloads mean nothing of models; a device that serves records both',
  },
  plan: {
    folder: 'src/plan',
    mayImport: ['profile', 'model', 'base'],
    typesOf: ['trace'],
    reason: 'prices plans by profiles; of links it needs only the shape',
  },
  observe: {
    folder: 'src/observe',
    mayImport: ['plan', 'profile', 'model', 'trace', 'base'],
    reason: 'events to observation: the same on a device and in a simulator, so it knows no simulator',
  },
  sim: {
    folder: 'src/sim',
    mayImport: ['plan', 'trace', 'observe', 'profile', 'model', 'base'],
    reason: 'walks plans over traces and tells observe',
  },
  scenario: {
    folder: 'src/scenario',
    mayImport: ['sim', 'plan', 'trace', 'observe', 'profile', 'model', 'base'],
    reason: 'one file says which world is simulated: for training and evaluation alike',
  },
  envs: {
    folder: 'envs',
    mayImport: ['scenario', 'sim', 'plan', 'trace', 'observe', 'profile', 'model', 'base'],
    reason: 'wraps the simulator; knows no learner',
  },
  policy: {
    folder: 'src/policy',
    mayImport: ['engine', 'onnx', 'observe', 'plan', 'profile', 'model', 'trust', 'base'],
    typesOf: ['envs'],
    contracts: ['envs/vector.ts'],
    reason: 'runs on a device, where there is no environment: only the contract of its vectors',
  },
  learn: {
    folder: 'src/learn',
    mayImport: ['policy', 'envs', 'engine', 'onnx', 'base'],
    reason: 'learns any environment; knows no plan',
  },
  runtime: {
    folder: 'src/runtime',
    mayImport: ['policy', 'observe', 'plan', 'profile', 'model', 'engine', 'trace', 'trust', 'base'],
    reason: 'decides on a device; carries no simulator and no learner',
  },
  serve: {
    folder: 'src/serve',
    mayImport: [
      ...['api', 'journal', 'execute', 'runtime', 'policy', 'observe', 'wire', 'trust', 'pretrained'],
      ...['plan', 'profile', 'model', 'engine', 'trace', 'base'],
    ],
    reason: 'the edge as a service: decides, carries out, recovers, writes down',
  },
  evaluate: {
    folder: 'src/evaluate',
    mayImport: [
      'scenario',
      'sim',
      'policy',
      'runtime',
      'plan',
      'observe',
      'profile',
      'model',
      'trace',
      'envs',
      'base',
    ],
    reason: 'judges what was trained, so it must not depend on how',
  },
  train: {
    folder: 'src/train',
    mayImport: [
      ...[
        'learn',
        'evaluate',
        'envs',
        'scenario',
        'policy',
        'report',
        'sim',
        'observe',
        'plan',
        'profile',
        'model',
      ],
      ...['trace', 'engine', 'onnx', 'base'],
    ],
    reason:
      'one training from its file to its run folder: brings learner, world, validation and log together',
  },
  assess: {
    folder: 'src/assess',
    mayImport: [
      ...['execute', 'pretrained', 'pretrain', 'plan', 'profile', 'model', 'engine', 'onnx', 'base'],
    ],
    reason: 'measures what plans lose in accuracy: runs a real model as plans would change it',
  },
  calibrate: {
    folder: 'src/calibrate',
    mayImport: [
      ...[
        'execute',
        'wire',
        'relay',
        'pretrained',
        'measure',
        'scenario',
        'sim',
        'plan',
        'observe',
        'profile',
      ],
      ...['model', 'trace', 'engine', 'onnx', 'base'],
    ],
    reason: 'holds the simulator to the runtime, so it must know both',
  },
  report: { folder: 'src/report', mayImport: ['base'], reason: 'draws plain data' },
  cli: {
    folder: 'src/cli',
    mayImport: [
      ...[
        'base',
        'onnx',
        'engine',
        'model',
        'profile',
        'measure',
        'trace',
        'plan',
        'observe',
        'sim',
        'scenario',
        'envs',
      ],
      ...['policy', 'learn', 'train', 'runtime', 'evaluate', 'report'],
      ...['pretrained', 'pretrain', 'wire', 'relay', 'execute', 'calibrate', 'assess'],
      ...['trust', 'journal', 'api', 'serve'],
    ],
    reason: 'the only place where everything meets',
  },
}

/** Packages that only some rooms may load: each has one owner, so that it can be replaced in one place. */
const PACKAGE_OWNERS: Readonly<Record<string, readonly string[]>> = {
  'onnxruntime-node': ['engine'],
  'onnxruntime-web': ['engine'],
  '@huggingface/tokenizers': ['pretrained'],
  hyparquet: ['trace'],
  'hyparquet-writer': ['trace'],
  'hyparquet-compressors': ['trace'],
  yaml: ['base', 'trace', 'cli'],
  'cli-table3': ['report'],
  vega: ['report'],
  'vega-lite': ['report'],
  '@resvg/resvg-js': ['report'],
  commander: ['cli'],
  ws: ['wire'],
  '@peculiar/x509': ['trust'],
  'reflect-metadata': ['trust'],
  '@huggingface/jinja': ['pretrained'],
  'prom-client': ['api', 'serve'],
  'cli-progress': ['cli'],
}

const LINE_LIMIT = 400
/** Where a clock and chance may be read: they are handed on from here. */
const MAY_READ_CLOCK = ['src/base/clock.ts', 'src/cli/']

const root = resolve(import.meta.dirname, '..')

interface Import {
  readonly specifier: string
  readonly typeOnly: boolean
}

function sourceFiles(): string[] {
  return ['src', 'envs'].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.ts'))
      .map((file) => join(folder, file).split(sep).join('/')),
  )
}

const parsed = new Map<string, ts.SourceFile>()

/** Each text is parsed once, whichever checks look at it. */
function parse(text: string): ts.SourceFile {
  const file = parsed.get(text) ?? ts.createSourceFile('x.ts', text, ts.ScriptTarget.Latest)
  parsed.set(text, file)
  return file
}

/** Static, dynamic, re-exported and type imports of one source text. */
function importsOf(text: string): Import[] {
  const found: Import[] = []
  const visit = (node: ts.Node): void => {
    if (
      (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) &&
      node.moduleSpecifier !== undefined
    ) {
      const typeOnly = ts.isImportDeclaration(node)
        ? node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword
        : node.isTypeOnly
      found.push({ specifier: (node.moduleSpecifier as ts.StringLiteral).text, typeOnly })
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      const argument = node.arguments[0]
      if (ts.isStringLiteralLike(argument)) found.push({ specifier: argument.text, typeOnly: false })
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      found.push({ specifier: (node.argument.literal as ts.StringLiteral).text, typeOnly: true })
    }
    ts.forEachChild(node, visit)
  }
  visit(parse(text))
  return found
}

function roomOf(path: string): string | undefined {
  return Object.keys(ROOMS).find((room) => path.startsWith(`${ROOMS[room].folder}/`))
}

/** What is wrong with one file's imports. */
function importProblems(path: string, text: string): string[] {
  const room = roomOf(path)
  if (room === undefined) return [`${path}: lies in no room of the table`]
  const rule = ROOMS[room]
  return importsOf(text).flatMap(({ specifier, typeOnly }) => {
    if (specifier.startsWith('node:')) return []
    if (!specifier.startsWith('.')) return packageProblem(path, room, specifier, typeOnly)
    const target = relative(root, resolve(root, dirname(path), specifier))
      .split(sep)
      .join('/')
    const other = roomOf(target)
    if (other === undefined) return [`${path}: imports ${target}, which lies in no room`]
    if (other === room || rule.mayImport.includes(other)) return []
    if (rule.contracts?.includes(target) === true) return []
    if (rule.typesOf?.includes(other) === true) {
      return typeOnly ? [] : [`${path}: may import only types of ${other}: write \`import type\``]
    }
    return [`${path}: ${room} may not import ${other} (${specifier}); ${room}: ${rule.reason}`]
  })
}

function packageProblem(path: string, room: string, specifier: string, typeOnly: boolean): string[] {
  const parts = specifier.split('/')
  const name = specifier.startsWith('@') ? parts.slice(0, 2).join('/') : parts[0]
  const owners = PACKAGE_OWNERS[name]
  if (typeOnly || owners === undefined || owners.includes(room)) return []
  return [`${path}: ${name} belongs to ${owners.join(', ')}`]
}

/** Reads of the clock or of chance in code (not in comments). */
function impureReads(path: string, text: string): string[] {
  if (MAY_READ_CLOCK.some((allowed) => path.startsWith(allowed))) return []
  const found: string[] = []
  const visit = (node: ts.Node): void => {
    if (ts.isPropertyAccessExpression(node) && ts.isIdentifier(node.expression)) {
      const name = `${node.expression.text}.${node.name.text}`
      if (/^(Date\.now|Math\.random|performance\.now|process\.hrtime)$/.test(name))
        found.push(`${path}: ${name}`)
    }
    if (ts.isNewExpression(node) && ts.isIdentifier(node.expression) && node.expression.text === 'Date') {
      if ((node.arguments?.length ?? 0) === 0) found.push(`${path}: new Date()`)
    }
    ts.forEachChild(node, visit)
  }
  visit(parse(text))
  return found
}

/** A path room -> ... -> room along the arrows, or null. */
function findCycle(arrows: Readonly<Record<string, readonly string[]>>): string[] | null {
  const done = new Set<string>()
  const walk = (room: string, path: readonly string[]): string[] | null => {
    if (path.includes(room)) return [...path.slice(path.indexOf(room)), room]
    if (done.has(room)) return null
    for (const next of arrows[room] ?? []) {
      const cycle = walk(next, [...path, room])
      if (cycle !== null) return cycle
    }
    done.add(room)
    return null
  }
  for (const room of Object.keys(arrows)) {
    const cycle = walk(room, [])
    if (cycle !== null) return cycle
  }
  return null
}

const files = sourceFiles().map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') }))

describe('the house', () => {
  it('imports only in the allowed directions', () => {
    expect(files.length).toBeGreaterThan(20)
    expect(files.flatMap(({ path, text }) => importProblems(path, text))).toEqual([])
  })

  it('has a table of directions without a cycle', () => {
    const arrows = Object.fromEntries(
      Object.entries(ROOMS).map(([room, rule]) => [room, [...rule.mayImport, ...(rule.typesOf ?? [])]]),
    )
    expect(findCycle(arrows)).toBeNull()
  })

  it('has contracts that import nothing', () => {
    const contracts = Object.values(ROOMS).flatMap((rule) => rule.contracts ?? [])
    const imports = contracts.flatMap((path) => importsOf(readFileSync(join(root, path), 'utf8')))
    expect(imports.filter(({ typeOnly }) => !typeOnly)).toEqual([])
  })

  it(`has no file longer than ${LINE_LIMIT} lines`, () => {
    const long = files.filter(({ text }) => text.trimEnd().split('\n').length > LINE_LIMIT)
    expect(long.map(({ path }) => path)).toEqual([])
  })

  it('reads clock and chance only where they are handed in', () => {
    expect(files.flatMap(({ path, text }) => impureReads(path, text))).toEqual([])
  })
})

describe('the checks themselves', () => {
  it('see every kind of import', () => {
    const text = `import a from './a.ts'\nimport type { B } from './b.ts'\nexport * from './c.ts'\nconst d = await import('./d.ts')\ntype E = import('./e.ts').E`
    expect(importsOf(text)).toEqual([
      { specifier: './a.ts', typeOnly: false },
      { specifier: './b.ts', typeOnly: true },
      { specifier: './c.ts', typeOnly: false },
      { specifier: './d.ts', typeOnly: false },
      { specifier: './e.ts', typeOnly: true },
    ])
  })

  it.each([
    ['src/base/x.ts', `import { Plan } from '../plan/plan.ts'`, 'base may not import plan'],
    ['src/plan/x.ts', `import { replay } from '../trace/link.ts'`, 'only types of trace'],
    ['src/plan/x.ts', `import { run } from '../../test/help.ts'`, 'lies in no room'],
    ['src/sim/x.ts', `import * as ort from 'onnxruntime-node'`, 'belongs to engine'],
    ['src/attic/x.ts', '', 'lies in no room'],
  ])('refuse %s: %s', (path, text, problem) => {
    expect(importProblems(path, text).join('\n')).toContain(problem)
  })

  it('find a clock in code and not in a comment', () => {
    expect(impureReads('src/sim/x.ts', 'const t = Date.now() + Math.random() + +new Date()')).toHaveLength(3)
    expect(impureReads('src/sim/x.ts', '// no Date.now() here\nconst d = new Date(5)')).toEqual([])
    expect(impureReads('src/cli/x.ts', 'Date.now()')).toEqual([])
  })

  it('find a cycle', () => {
    expect(findCycle({ a: ['b'], b: ['c'], c: ['b'] })).toEqual(['b', 'c', 'b'])
  })
})
