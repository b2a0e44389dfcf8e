import type { CliEntry } from './command.ts'

export const VERIFY: CliEntry = {
  name: 'verify',
  summary: 'check a bundle on this machine: every byte, and what it computes',
  load: async () => (await import('./commands/verify.ts')).verify,
}

export const DECIDE: CliEntry = {
  name: 'decide',
  summary: 'what a bundle decides under given conditions, and how fast',
  load: async () => (await import('./commands/decide.ts')).decide,
}

export const EDGE: CliEntry = {
  name: 'edge',
  summary: 'generate text with a model that is split between this device and a cloud, or serve it',
  load: async () => (await import('./commands/edge.ts')).edge,
}

export const PACK: CliEntry = {
  name: 'pack',
  summary: 'pack what one machine needs to run its side into one folder, or check such a folder',
  load: async () => (await import('./commands/pack.ts')).pack,
}

export const CLOUD: CliEntry = {
  name: 'cloud',
  summary: 'carry out the cloud part of a split model for edges that connect',
  load: async () => (await import('./commands/cloud.ts')).cloud,
}

/** What a packed machine can do, edge or cloud: commands that need Node and ONNX Runtime alone. */
export const EDGE_COMMANDS: readonly CliEntry[] = [EDGE, CLOUD, DECIDE, VERIFY, PACK]
