/** `edgewise calibrate --json` prints what result.json holds. */
export { resultSchema as calibrateJsonSchema } from '../../calibrate/result.ts'
