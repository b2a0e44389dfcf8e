import type { CliGroup } from '../command.ts'

/** `edgewise link ...`: recorded links imposed on real connections. */
export const link: CliGroup = {
  name: 'link',
  summary: 'impose a recorded link on real connections',
  entries: [
    {
      name: 'replay',
      summary: 'relay TCP connections over a recorded link, in both directions',
      load: async () => (await import('./link/replay.ts')).linkReplay,
    },
  ],
}
