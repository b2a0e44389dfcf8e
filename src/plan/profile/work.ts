import {
  attentionUnitParameters,
  ffnParameters,
  lmHeadParameters,
  headsPerUnit,
  kvBytesPerUnitToken,
} from '../../model/spec.ts'
import type { FfnPart, ModelSpec } from '../../model/spec.ts'

/** Work of a block: floating-point operations, and bytes moved to and from memory. */
export interface Work {
  readonly flops: number
  readonly bytes: number
}

/** Looking up `tokens` rows of the embedding. */
export function embedWork(
  model: ModelSpec,
  tokens: number,
  weightBytes: number,
  activationBytes: number,
): Work {
  const elements = tokens * model.width
  return { flops: elements, bytes: elements * (weightBytes + activationBytes) }
}

/** `units` of one attention block over a prompt of `tokens`; the causal half of the score matrix. */
export function attentionPrefillWork(
  model: ModelSpec,
  tokens: number,
  units: number,
  weightBytes: number,
  activationBytes: number,
): Work {
  const parameters = units * attentionUnitParameters(model)
  const scores = units * headsPerUnit(model) * 4 * model.headDim * ((tokens * (tokens + 1)) / 2)
  const kvBytes = units * kvBytesPerUnitToken(model, activationBytes) * tokens
  return {
    flops: 2 * tokens * parameters + scores,
    bytes: parameters * weightBytes + 2 * tokens * model.width * activationBytes + kvBytes,
  }
}

/** `units` of one attention block for one token against `context` cached ones. */
export function attentionDecodeWork(
  model: ModelSpec,
  context: number,
  units: number,
  weightBytes: number,
  activationBytes: number,
): Work {
  const parameters = units * attentionUnitParameters(model)
  const scores = units * headsPerUnit(model) * 4 * model.headDim * (context + 1)
  const kvBytes = units * kvBytesPerUnitToken(model, activationBytes) * (context + 1)
  return {
    flops: 2 * parameters + scores,
    bytes: parameters * weightBytes + 2 * model.width * activationBytes + kvBytes,
  }
}

/** One FFN, or a half of it, over `tokens`. */
export function ffnWork(
  model: ModelSpec,
  part: FfnPart,
  tokens: number,
  weightBytes: number,
  activationBytes: number,
): Work {
  const parameters = ffnParameters(model, part)
  const elements = part === 'whole' ? 2 * model.width : model.width + model.ffnWidth
  return {
    flops: 2 * tokens * parameters,
    bytes: parameters * weightBytes + tokens * elements * activationBytes,
  }
}

/** Final norm and LM head of one position. */
export function headWork(model: ModelSpec, weightBytes: number, activationBytes: number): Work {
  const parameters = lmHeadParameters(model)
  return {
    flops: 2 * parameters,
    bytes: parameters * weightBytes + (model.width + model.vocabulary) * activationBytes,
  }
}
