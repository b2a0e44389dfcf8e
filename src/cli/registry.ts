import type { CliEntry } from './command.ts'

/** Every command, in the order of `edgewise --help`. Modules are loaded only when called. */
export const COMMANDS: readonly CliEntry[] = [
  {
    name: 'bench',
    summary: 'run the benchmarks of this build',
    load: async () => (await import('./commands/bench.ts')).bench,
  },
]
