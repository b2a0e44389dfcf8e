export { attentionDecodeGraph, attentionPrefillGraph } from './attention.ts'
export type { AttentionOptions } from './attention.ts'
export { loadModel, MODELS, modelSpecSchema } from './catalog.ts'
export { embeddingGraph, headGraph } from './ends.ts'
export { ffnGraph } from './ffn.ts'
export { segmentGraph } from './segment.ts'
export type { SegmentOptions } from './segment.ts'
export { openSegmentStore } from './segmentStore.ts'
export type { SegmentStore, StoredSegment } from './segmentStore.ts'
export { segmentNames } from './segmentTypes.ts'
export type { Segment, SegmentPart, WeightPrecision } from './segmentTypes.ts'
export type { WeightSource } from './source.ts'
export {
  attentionUnitParameters,
  attentionUnits,
  embeddingParameters,
  ffnParameters,
  headParameters,
  headsPerUnit,
  kvBytesPerUnitToken,
} from './spec.ts'
export type { FfnPart, ModelSpec } from './spec.ts'
export { storeModel } from './store.ts'
export type { StoredModel } from './store.ts'
export {
  attentionWeights,
  embeddingWeights,
  ffnWeights,
  headWeights,
  normalFill,
  sharedFill,
  sliceUnits,
} from './weights.ts'
export type { AttentionWeights, EmbeddingWeights, FfnWeights, HeadWeights, WeightFill } from './weights.ts'
