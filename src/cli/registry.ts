import type { CliEntry } from './command.ts'
import { CLOUD, DECIDE, EDGE, PACK, VERIFY } from './edgeRegistry.ts'

/** Every command, in the order of `edgewise --help`. Modules are loaded only when called. */
export const COMMANDS: readonly CliEntry[] = [
  {
    name: 'quickstart',
    summary: 'measure this machine, train, compare, export, decide and speak, in a few minutes',
    load: async () => (await import('./commands/quickstart.ts')).quickstart,
  },
  {
    name: 'profile',
    summary: "measure a model's sub-blocks on this machine",
    load: async () => (await import('./commands/profile.ts')).profile,
  },
  {
    name: 'models',
    summary: 'list the models that are known, or describe one',
    load: async () => (await import('./commands/models.ts')).models,
  },
  {
    name: 'devices',
    summary: 'list the devices known from data sheets, or describe one with its sources',
    load: async () => (await import('./commands/devices.ts')).devices,
  },
  {
    name: 'trace',
    summary: 'import recordings of links, describe them, fit synthetic links to them',
    load: async () => (await import('./commands/trace.ts')).trace,
  },
  {
    name: 'link',
    summary: 'impose a recorded link on real connections',
    load: async () => (await import('./commands/link.ts')).link,
  },
  {
    name: 'oracle',
    summary: 'the best plan of one request over a constant link, and why',
    load: async () => (await import('./commands/oracle.ts')).oracle,
  },
  {
    name: 'simulate',
    summary: 'what if: any plan, for one request alone or through a scenario',
    load: async () => (await import('./commands/simulate.ts')).simulate,
  },
  {
    name: 'train',
    summary: 'train a policy in the simulator, or continue a run',
    load: async () => (await import('./commands/train.ts')).train,
  },
  {
    name: 'eval',
    summary: 'compare runs, bundles and planners on the same episodes',
    load: async () => (await import('./commands/eval.ts')).evalCommand,
  },
  {
    name: 'export',
    summary: "write a run's best policy as a verified ONNX bundle",
    load: async () => (await import('./commands/export.ts')).exportCommand,
  },
  {
    name: 'sign',
    summary: 'sign a bundle, so that a device can verify who made it',
    load: async () => (await import('./commands/sign.ts')).sign,
  },
  VERIFY,
  DECIDE,
  {
    name: 'accuracy',
    summary: 'measure what quantised boundaries, early exits and quantised weights lose',
    load: async () => (await import('./commands/accuracy.ts')).accuracy,
  },
  {
    name: 'pretrain',
    summary: 'train the built-in language model again',
    load: async () => (await import('./commands/pretrain.ts')).pretrainCommand,
  },
  CLOUD,
  EDGE,
  PACK,
  {
    name: 'log',
    summary: 'what a decision log holds: requests, decisions, events, times, use against budgets, damage',
    load: async () => (await import('./commands/log.ts')).log,
  },
  {
    name: 'keys',
    summary: 'make an authority, keys of machines and of signatures; show and revoke them',
    load: async () => (await import('./commands/keys.ts')).keys,
  },
  {
    name: 'calibrate',
    summary: 'predict with the simulator, measure the real runtime, and report how far they differ',
    load: async () => (await import('./commands/calibrate.ts')).calibrateCommand,
  },
  {
    name: 'calibrate-edge',
    summary: 'one side of `edgewise calibrate`; not for users',
    hidden: true,
    load: async () => (await import('./commands/calibrateEdge.ts')).calibrateEdge,
  },
  {
    name: 'bench',
    summary: 'run the benchmarks of this build',
    load: async () => (await import('./commands/bench.ts')).bench,
  },
]
