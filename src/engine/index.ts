export type { Tensor } from '../onnx/tensor.ts'
export { openEngine } from './open.ts'
export { EngineError } from './types.ts'
export type {
  Engine,
  EngineInfo,
  EngineKind,
  Feeds,
  Fetched,
  Insert,
  Resident,
  RunOptions,
  Session,
  SessionOptions,
} from './types.ts'
