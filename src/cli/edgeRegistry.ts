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
  summary: 'generate text with a model that is split between this device and a cloud',
  load: async () => (await import('./commands/edge.ts')).edge,
}

export const PACK: CliEntry = {
  name: 'pack',
  summary: 'pack what an edge device needs into one folder, or check such a folder',
  load: async () => (await import('./commands/pack.ts')).pack,
}

/** What a packed device can do: commands that need Node and ONNX Runtime alone. */
export const EDGE_COMMANDS: readonly CliEntry[] = [EDGE, DECIDE, VERIFY, PACK]
