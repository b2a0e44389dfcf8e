import type { AccuracyTable } from '../profile/accuracy.ts'
import type { BlockCosts } from '../profile/costs.ts'
import type { ModelSpec } from '../../model/spec.ts'
import type { Precision } from '../../model/precision.ts'
import { attentionUnits } from '../../model/spec.ts'
import { kvBytesPerElement } from '../profile/precision.ts'
import type { Profile } from '../profile/types.ts'
import { DEFAULT_NETWORK, type NetworkTerms } from './network.ts'

/** One model on one edge device and one cloud device, with the terms of the network between them. */
export interface DevicePair {
  readonly model: ModelSpec
  readonly edge: BlockCosts
  readonly cloud: BlockCosts
  readonly network: NetworkTerms
  readonly accuracy: AccuracyTable
  /** Figures of the edge device's profile, without provenance. */
  readonly power: EdgePower
  readonly edgeLoadBytesPerSecond: number
  /** Time to create one session on the edge, besides reading its weights. */
  readonly edgeSegmentSeconds: number
  readonly edgeMemoryBytes: number
  /** Of either side's weights, as its profile has it: seconds and bytes of a side are those of its own precision. */
  readonly edgePrecision: Precision
  readonly cloudPrecision: Precision
  /** Bytes of one element of a K/V cache on the edge. */
  readonly kvBytesPerElement: number
}

/** Edge power in watts; radio energy in joules. */
export interface EdgePower {
  readonly busyWatts: number
  readonly idleWatts: number
  readonly radioJoulesPerByte: number
  readonly radioJoulesPerMessage: number
}

/**
 * Joins two profiles of one model. Without `network`, the handling of a message is taken from the profiles. Throws
 * RangeError if they are of different models.
 */
export function createPair(
  edge: BlockCosts,
  cloud: BlockCosts,
  accuracy: AccuracyTable,
  network: NetworkTerms = measuredNetwork(edge.profile, cloud.profile),
): DevicePair {
  if (edge.model.id !== cloud.model.id) {
    throw new RangeError(
      `profiles: expected one model, found ${edge.model.id} (edge) and ${cloud.model.id} (cloud)`,
    )
  }
  const { power, loadBytesPerSecond, load, device, precision } = edge.profile
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
    edgeSegmentSeconds: load?.segmentSeconds.value ?? 0,
    edgeMemoryBytes: device.memoryBytes,
    edgePrecision: precision,
    cloudPrecision: cloud.profile.precision,
    kvBytesPerElement: kvBytesPerElement(edge.profile),
  }
}

/** Each device handles its half of a message; one that was not measured takes half of the default time. */
function measuredNetwork(edge: Profile, cloud: Profile): NetworkTerms {
  const usual = DEFAULT_NETWORK.messageSeconds
  const both = [edge, cloud].map(({ wire }) => wire?.messageSeconds.value ?? usual)
  return { ...DEFAULT_NETWORK, messageSeconds: (both[0] + both[1]) / 2 }
}

/** Cost of one call of a session besides its blocks, by side. */
export interface CallCosts {
  /** Cost of every call. */
  readonly dispatch: readonly [edge: number, cloud: number]
  /** Additional cost of a call that follows a message or begins a request: an idle core has to wake. */
  readonly wake: readonly [edge: number, cloud: number]
}

/** The call costs of a pair. */
export function callCosts({ edge, cloud }: Pick<DevicePair, 'edge' | 'cloud'>): CallCosts {
  return {
    dispatch: [edge.dispatchSeconds, cloud.dispatchSeconds],
    wake: [edge.wakeSeconds, cloud.wakeSeconds],
  }
}

/** Placement units of one attention block (K/V groups). */
export function pairUnits(pair: DevicePair): number {
  return attentionUnits(pair.model)
}
