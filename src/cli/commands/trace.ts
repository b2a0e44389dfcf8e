import type { CliGroup } from '../command.ts'

/** `edgewise trace ...`: recordings of links, and our trace file format. */
export const trace: CliGroup = {
  name: 'trace',
  summary: 'import recordings of links, describe them, fit synthetic links to them',
  entries: [
    {
      name: 'import',
      summary: 'read a recording and write it as a trace file',
      load: async () => (await import('./trace/import.ts')).traceImport,
    },
    {
      name: 'stats',
      summary: 'rates, round-trip times and silences of recordings',
      load: async () => (await import('./trace/stats.ts')).traceStats,
    },
    {
      name: 'show',
      summary: 'what is in a trace file or a synthetic link, and its course over time',
      load: async () => (await import('./trace/show.ts')).traceShow,
    },
    {
      name: 'fit',
      summary: 'fit synthetic links to recordings',
      load: async () => (await import('./trace/fit.ts')).traceFit,
    },
  ],
}
