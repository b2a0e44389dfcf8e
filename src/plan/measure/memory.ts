import { InputError } from '../../core/errors.ts'
import { CACHE_BYTES_PER_ELEMENT, cacheCapacity } from '../../model/graphs/cache.ts'
import { lmHeadPrecision } from '../../model/graphs/blocks.ts'
import type { Subgraph } from '../../model/graphs/subgraphTypes.ts'
import { storedBytesPerWeight, type RuntimePrecision } from '../../model/precision.ts'
import {
  attentionUnitParameters,
  attentionUnits,
  embeddingParameters,
  ffnParameters,
  headsPerUnit,
  kvBytesPerUnitToken,
  lmHeadParameters,
  type ModelSpec,
} from '../../model/spec.ts'
import type { Step } from './feeds.ts'

/**
 * What a measurement takes of the machine's memory, estimated from above before anything is loaded or run: a machine that
 * is asked for more than it has ends other programs, or stops.
 */

/** Weights are in memory as drawn or read, as the file's mapped pages, and as the runtime has repacked them. */
const COPIES_OF_WEIGHTS = 3
/** Attention scores are there before and after mask and softmax, and the runtime's arena grows in steps. */
const COPIES_OF_SCORES = 6
/** Rows of an FFN or a projection that live at once. */
const COPIES_OF_ROWS = 4
/** K/V while a cache grows: the former, the new one, and the values that are written. */
const COPIES_OF_CACHES = 3
const FLOAT_BYTES = 4
/** Share of what is free that a measurement may take; the rest is for what else starts meanwhile. */
const SHARE_OF_FREE = 0.75

/** Bytes of a subgraph's matrices in memory while it is built and loaded. Embedding and lm_head have their own precision. */
export function loadBytes(model: ModelSpec, precision: RuntimePrecision, { parts }: Subgraph): number {
  let bytes = 0
  const add = (parameters: number, stored: RuntimePrecision): void => {
    // What is drawn or read is float32, whatever is stored of it.
    bytes += parameters * (FLOAT_BYTES + (COPIES_OF_WEIGHTS - 1) * storedBytesPerWeight(stored))
  }
  for (const part of parts) {
    if (part.kind === 'attention') add(part.units.length * attentionUnitParameters(model), precision)
    else if (part.kind === 'ffn') add(ffnParameters(model, part.part), precision)
    else if (part.kind === 'embed') add(embeddingParameters(model), 'fp32')
    else add(lmHeadParameters(model), lmHeadPrecision(precision))
  }
  return bytes
}

/** Bytes that one run of `batch` sequences takes beside the weights: scores, rows and K/V caches. */
export function runBytes(model: ModelSpec, { parts }: Subgraph, step: Step, batch = 1): number {
  const rows = step.tokens * batch
  const seen =
    step.position === 0 ? step.tokens + 1 : cacheCapacity(step.position + step.tokens) + step.tokens
  const widest = Math.max(
    model.width,
    model.ffnWidth,
    attentionUnits(model) * headsPerUnit(model) * model.headDim,
  )
  let units = 0
  let unitLayers = 0
  for (const part of parts) {
    if (part.kind !== 'attention') continue
    units = Math.max(units, part.units.length)
    unitLayers += part.units.length
  }
  // Layers run one after the other: their scores take the same memory in turn. The causal mask is there once.
  const scores = (units * headsPerUnit(model) * COPIES_OF_SCORES + (units > 0 ? 1 : 0)) * rows * seen
  const caches =
    COPIES_OF_CACHES *
    batch *
    unitLayers *
    kvBytesPerUnitToken(model, CACHE_BYTES_PER_ELEMENT) *
    cacheCapacity(step.position + step.tokens)
  return FLOAT_BYTES * (scores + COPIES_OF_ROWS * rows * widest) + caches
}

/** Whether so many bytes may be taken where so many are free. */
export function isRoomFor(bytes: number, freeBytes: number): boolean {
  return bytes <= SHARE_OF_FREE * freeBytes
}

/** Throws InputError where there is no room: `what` is to be measured. */
export function checkRoom(what: string, bytes: number, freeBytes: number): void {
  if (isRoomFor(bytes, freeBytes)) return
  const gigabytes = (value: number): string => `${(value / 1e9).toPrecision(3)} GB`
  throw new InputError({
    where: `profile: ${what}`,
    expected: `${gigabytes(bytes / SHARE_OF_FREE)} of free memory (${gigabytes(bytes)} for it, a quarter for others)`,
    found: `${gigabytes(freeBytes)} free`,
    remedy:
      'end other programs, lower --max-tokens or --precision, or model the profile from a data sheet (--device)',
  })
}
