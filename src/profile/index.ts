export {
  ACCURACY_SCHEMA,
  accuracyKind,
  accuracySchema,
  accuracyTable,
  boundaryLoss,
  exitEntryOf,
  layerBoundaryLoss,
  readAccuracyTable,
} from './accuracy.ts'
export type { AccuracyTable, BoundaryWidth, ExitEntry, LayerLoss } from './accuracy.ts'
export { BlockCosts } from './costs.ts'
export { datasheetProfile } from './datasheet.ts'
export type { DatasheetOptions } from './datasheet.ts'
export { DEVICES, deviceSchema, loadDevice } from './devices.ts'
export type { DeviceSheet } from './devices.ts'
export {
  calibrationSchema,
  checkProfile,
  formatProfile,
  parseProfile,
  profileSchema,
  readProfile,
  writeProfile,
} from './file.ts'
export { fullGrid, quickGrid } from './grid.ts'
export type { ProfileGrid } from './grid.ts'
export { accuracyFileIn, shippedAccuracyFile } from './shipped.ts'
export { BYTES_PER_WEIGHT, CALIBRATION_SCHEMA, PROFILE_SCHEMA } from './types.ts'
export type {
  Calibration,
  CalibrationTerm,
  Curve,
  Figure,
  Precision,
  Profile,
  Provenance,
  ProvenanceKind,
  Surface,
} from './types.ts'
