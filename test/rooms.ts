export interface Room {
  readonly folder: string
  readonly mayImport: readonly string[]
  /** Rooms of which only types may be imported. */
  readonly typesOf?: readonly string[]
  /** Single files of rooms that are otherwise closed: contracts, which import nothing. */
  readonly contracts?: readonly string[]
  readonly reason: string
}

/** Who may import whom. Every arrow points one way; the reason says what the room needs the others for. */
export const ROOMS: Readonly<Record<string, Room>> = {
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
export const PACKAGE_OWNERS: Readonly<Record<string, readonly string[]>> = {
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
