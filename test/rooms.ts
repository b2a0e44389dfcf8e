export interface District {
  readonly folder: string
  /** Districts it may import, each with the reason. */
  readonly imports: Readonly<Record<string, string>>
  /**
   * Its rooms (folders), lowest first: a room imports those before it. '.' is the district's own folder.
   * Absent: the district is one room.
   */
  readonly rooms?: readonly string[]
  readonly purpose: string
}

/** The districts of the source tree, lowest first: imports point down, and every arrow has its reason. */
export const DISTRICTS: Readonly<Record<string, District>> = {
  core: {
    folder: 'src/core',
    purpose:
      'errors, clock, randomness, files, schemas; ONNX files and engines; journal; certificates and keys',
    rooms: ['.', 'onnx', 'engine', 'journal', 'trust'],
    imports: {},
  },
  report: {
    folder: 'src/report',
    purpose: 'tables and charts of plain data',
    imports: {},
  },
  trace: {
    folder: 'src/trace',
    purpose: 'links and workloads: files, importers, statistics, replay onto TCP',
    rooms: ['.', 'import', 'replay'],
    imports: { core: 'files and randomness; the decision log is a format that it imports' },
  },
  model: {
    folder: 'src/model',
    purpose: 'transformers: shapes, graphs, weights, tokenizers',
    rooms: ['.', 'graphs', 'tokenizers', 'weights'],
    imports: { core: 'writes ONNX graphs' },
  },
  plan: {
    folder: 'src/plan',
    purpose: 'what a plan is and what it costs: profile, price, oracle, planners',
    rooms: ['.', 'profile', 'measure', 'price', 'oracle', 'planners'],
    imports: {
      core: 'files and the engine that is measured',
      model: 'the shapes that a profile measures and a plan divides',
      trace: 'the shape of a link (types)',
    },
  },
  policy: {
    folder: 'src/policy',
    purpose: 'what decides on a device: observation, action codec, actor, bundle, controller',
    rooms: ['observation', 'action', 'actor', 'parity', 'bundle', 'controller'],
    imports: {
      core: 'runs the actor, checks signatures',
      plan: 'plans are the actions; the exact action is the shield',
      trace: 'the shape of a link (types)',
    },
  },
  sim: {
    folder: 'src/sim',
    purpose: 'simulators, and the scenario that says which world they simulate',
    rooms: ['.', 'scenario'],
    imports: {
      core: 'randomness and files',
      trace: 'the links and workloads that it replays',
      model: 'the model that a scenario names',
      plan: 'walks the stages of plans',
      policy: 'tells the observer what happened',
    },
  },
  envs: {
    folder: 'envs',
    purpose: 'the Gymnasium face of the simulator',
    imports: {
      core: 'archives and errors',
      plan: 'plans are the actions',
      policy: 'observation and action codec, as on a device',
      sim: 'the world behind the environment',
    },
  },
  learn: {
    folder: 'src/learn',
    purpose: 'PPO, runs and their folders, evaluation, trackers',
    rooms: ['trackers', 'ppo', 'evaluate', 'runs'],
    imports: {
      core: 'the engine that trains',
      envs: 'what a run trains on',
      plan: 'the planners that a policy is held against',
      policy: 'the actor that is trained',
      sim: 'the worlds of an evaluation',
    },
  },
  run: {
    folder: 'src/run',
    purpose: 'carries a plan out: wire, executor, recovery',
    rooms: ['wire', 'executor'],
    imports: {
      core: 'engines and timers',
      model: 'the graphs that it runs',
      plan: 'the plan that it carries out',
    },
  },
  serve: {
    folder: 'src/serve',
    purpose: 'edge and cloud put together as services: HTTP API, admission, plans, logs',
    rooms: ['.', 'http', 'edge', 'cloud'],
    imports: {
      core: 'the journal',
      model: 'opens the model; tokenizers and chat templates',
      plan: 'plans by which it serves',
      policy: 'the controller that decides',
      run: 'the executor',
    },
  },
  lab: {
    folder: 'src/lab',
    purpose: 'experiments: calibration, accuracy, pretraining of the built-in model',
    rooms: ['pretrain', 'accuracy', 'calibrate'],
    imports: {
      core: 'engines and statistics',
      model: 'the models that are tried',
      plan: 'what was predicted',
      run: 'what is measured',
      sim: 'predicts what calibration measures',
      trace: 'the links of a calibration',
    },
  },
  cli: {
    folder: 'src/cli',
    purpose: 'parses flags and prints',
    imports: {
      core: 'errors and files',
      report: 'tables and charts',
      trace: '`trace` and `link`',
      model: '`models`; opens what --model names',
      plan: '`profile`, `oracle`, `devices`',
      policy: '`export`, `verify`, `decide`',
      sim: '`simulate`, scenarios',
      learn: '`train`, `eval`',
      run: '`edge`, `cloud`',
      serve: '`edge --listen`',
      lab: '`calibrate`, `accuracy`, `pretrain`',
    },
  },
}

/** Packages that only some districts may load: each has one owner, so that it can be replaced in one place. */
export const PACKAGE_OWNERS: Readonly<Record<string, readonly string[]>> = {
  'onnxruntime-node': ['core/engine'],
  'onnxruntime-web': ['core/engine'],
  '@huggingface/tokenizers': ['model/tokenizers'],
  '@huggingface/jinja': ['model/tokenizers'],
  hyparquet: ['trace'],
  'hyparquet-writer': ['trace'],
  'hyparquet-compressors': ['trace'],
  yaml: ['core', 'trace', 'cli'],
  'cli-table3': ['report'],
  vega: ['report'],
  'vega-lite': ['report'],
  '@resvg/resvg-js': ['report'],
  commander: ['cli'],
  ws: ['run/wire'],
  '@peculiar/x509': ['core/trust'],
  'reflect-metadata': ['core/trust'],
  'prom-client': ['serve'],
  'cli-progress': ['cli'],
}

/** What `import 'edgewise/<name>'` opens; all else is internal. */
export const PUBLIC_ENTRIES: Readonly<Record<string, string>> = {
  plan: 'src/plan/index.ts',
  sim: 'src/sim/index.ts',
  envs: 'envs/index.ts',
  learn: 'src/learn/index.ts',
  edge: 'src/policy/controller/edge.ts',
  serve: 'src/serve/index.ts',
  trace: 'src/trace/index.ts',
}
