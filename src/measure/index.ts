export { thisHost } from './host.ts'
export type { Host } from './host.ts'
export { measureProfile } from './measure.ts'
export type { MeasureOptions, MeasureProgress } from './measure.ts'
