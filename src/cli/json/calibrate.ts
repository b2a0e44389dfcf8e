/** `edgewise calibrate --json` prints what result.json holds. */
export { resultSchema as calibrateJsonSchema } from '../../lab/calibrate/result.ts'
