export { assess, MEASURED_BITS } from './assess.ts'
export type { AssessOptions } from './assess.ts'
export { measuredTable, meanCrossing, rankedUnits } from './table.ts'
export type {
  Additivity,
  Assessment,
  CrossingLoss,
  ExitQuality,
  Loss,
  PrecisionQuality,
  RankedLoss,
  UnitSensitivity,
} from './types.ts'
export { measuredText } from './text.ts'
export type { MeasuredText, TextChoice } from './text.ts'
export { rankedWidths } from './widths.ts'
export { cutWindows, textWindows, WINDOW_TOKENS } from './windows.ts'
export type { Window } from './windows.ts'
