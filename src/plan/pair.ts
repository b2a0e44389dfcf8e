import type { AccuracyTable } from '../profile/accuracy.ts'
import type { BlockCosts } from '../profile/costs.ts'
import type { ModelSpec } from '../model/spec.ts'
import {
  attentionUnits,
  kvBytesPerUnitToken,
  attentionUnitParameters,
  ffnParameters,
  embeddingParameters,
  headParameters,
} from '../model/spec.ts'
import { BYTES_PER_WEIGHT, type Precision } from '../profile/types.ts'
import { DEFAULT_NETWORK, type NetworkTerms } from './network.ts'

/** One model on one edge device and one cloud device, with the terms of the wire between them. */
export interface Pair {
  readonly model: ModelSpec
  readonly edge: BlockCosts
  readonly cloud: BlockCosts
  readonly network: NetworkTerms
  readonly accuracy: AccuracyTable
  /** Figures of the edge device's profile, unwrapped. */
  readonly power: EdgePower
  readonly edgeLoadBytesPerSecond: number
  readonly edgeMemoryBytes: number
  readonly edgePrecision: Precision
}

/** Edge power in watts; radio energy in joules. */
export interface EdgePower {
  readonly busyWatts: number
  readonly idleWatts: number
  readonly radioJoulesPerByte: number
  readonly radioJoulesPerMessage: number
}

/** Joins two profiles of one model. Throws RangeError if they are of different models. */
export function createPair(
  edge: BlockCosts,
  cloud: BlockCosts,
  accuracy: AccuracyTable,
  network: NetworkTerms = DEFAULT_NETWORK,
): Pair {
  if (edge.model.id !== cloud.model.id) {
    throw new RangeError(
      `profiles: expected one model, found ${edge.model.id} (edge) and ${cloud.model.id} (cloud)`,
    )
  }
  const { power, loadBytesPerSecond, device, precision } = edge.profile
  return {
    model: edge.model,
    edge,
    cloud,
    network,
    accuracy,
    power: {
      busyWatts: power.busyWatts.value,
      idleWatts: power.idleWatts.value,
      radioJoulesPerByte: power.radioJoulesPerByte.value,
      radioJoulesPerMessage: power.radioJoulesPerMessage.value,
    },
    edgeLoadBytesPerSecond: loadBytesPerSecond.value,
    edgeMemoryBytes: device.memoryBytes,
    edgePrecision: precision,
  }
}

/** Edge memory of the parts a plan may place there. */
export interface BlockBytes {
  readonly unit: number
  readonly ffnFirst: number
  readonly ffnSecond: number
  readonly embed: number
  readonly head: number
  /** K/V cache of one unit of one layer per token. */
  readonly kvPerUnitToken: number
}

/** Bytes of each part at a precision; K/V is held in 4 bytes an element at fp32, else in 2. */
export function blockBytes(model: ModelSpec, precision: Precision): BlockBytes {
  const bytes = BYTES_PER_WEIGHT[precision]
  return {
    unit: attentionUnitParameters(model) * bytes,
    ffnFirst: ffnParameters(model, 'first') * bytes,
    ffnSecond: ffnParameters(model, 'second') * bytes,
    embed: embeddingParameters(model) * bytes,
    head: headParameters(model) * bytes,
    kvPerUnitToken: kvBytesPerUnitToken(model, precision === 'fp32' ? 4 : 2),
  }
}

/** Placement units of one attention block (K/V groups). */
export function pairUnits(pair: Pair): number {
  return attentionUnits(pair.model)
}
