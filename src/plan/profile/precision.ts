import { InputError } from '../../core/errors.ts'
import { canonicalJson } from '../../core/files.ts'
import { CACHE_BYTES_PER_ELEMENT } from '../../model/graphs/cache.ts'
import type { Precision } from '../../model/precision.ts'
import { datasheetProfile } from './datasheet.ts'
import { DEVICES } from './devices.ts'
import { ROOFLINE_RUNTIME, type Profile } from './types.ts'

/** Figures of one precision where another one runs. What decides on them decides on wrong seconds and bytes. */
export class PrecisionError extends InputError {}

interface NeededFigures {
  /** What runs there. */
  readonly precision: Precision
  readonly side: 'edge' | 'cloud'
  /** File or option that the profile comes from. */
  readonly where: string
  /** What else can be done than to replace the profile, e.g. `run the edge with --precision fp32`. */
  readonly instead: string
  /** How a profile of the right precision takes this one's place, e.g. `give it with --edge-profile`. */
  readonly replacement: string
}

/**
 * A profile's figures at the precision that runs: the profile itself, or, where it was modelled from a built-in data
 * sheet, one modelled anew from the same sheet. Throws PrecisionError naming both precisions for any other profile:
 * a measurement says nothing of other graphs.
 */
export function profileAtPrecision(profile: Profile, request: NeededFigures): Profile {
  const { precision, side, where, instead, replacement } = request
  if (profile.precision === precision) return profile
  const modelled = modelledAnew(profile, precision)
  if (modelled !== null) return modelled
  const { model } = profile
  throw new PrecisionError({
    where,
    expected: `figures of ${model.id} at ${precision}, the precision that the ${side} runs`,
    found: profileLabel(profile),
    remedy:
      `${instead}; or measure there with ` +
      `\`edgewise profile --model ${model.id} --precision ${precision}\`, and ${replacement}`,
  })
}

/** Null where the blocks are not those of a built-in data sheet at the profile's own precision. */
function modelledAnew(
  { device, precision: own, model, blocks }: Profile,
  precision: Precision,
): Profile | null {
  const sheet = DEVICES.find(({ id }) => id === device.id)
  if (sheet === undefined || blocks.head.provenance.kind !== 'modelled') return null
  const same = datasheetProfile(sheet, model, { precision: own })
  if (canonicalJson(same.blocks) !== canonicalJson(blocks)) return null
  return datasheetProfile(sheet, model, { precision })
}

/**
 * Bytes of a key or value in the cache of a profile's device: what the profile says; else float32, as the runtime holds
 * K/V whatever the precision of the weights.
 */
export function kvBytesPerElement({ kvCache, runtime, precision }: Profile): number {
  if (kvCache !== undefined) return kvCache.bytesPerElement.value
  // Data-sheet profiles of former versions do not say it: K/V at the precision of their activations.
  if (runtime.name === ROOFLINE_RUNTIME && precision !== 'fp32') return 2
  return CACHE_BYTES_PER_ELEMENT
}

/** The profile of a device on which this runtime holds K/V: a data sheet models them at the precision of its activations. */
export function withRuntimeKv(profile: Profile): Profile {
  if (kvBytesPerElement(profile) === CACHE_BYTES_PER_ELEMENT) return profile
  const provenance = { kind: 'modelled', source: 'float32, as the runtime holds keys and values' } as const
  return { ...profile, kvCache: { bytesPerElement: { value: CACHE_BYTES_PER_ELEMENT, provenance } } }
}

/** A profile in a few words, e.g. `measured: this-laptop, int4`. */
export function profileLabel(profile: Profile): string {
  const { blocks, device, precision } = profile
  const beyond = extrapolatedFrom(profile)
  return (
    `${blocks.attention.decode.provenance.kind}: ${device.id}, ${precision}` +
    (beyond === null ? '' : `, extrapolated above ${beyond} tokens`)
  )
}

/** Tokens above which some figure of a profile is extrapolated; null if none is. */
export function extrapolatedFrom({ measuredTokens }: Profile): number | null {
  return measuredTokens === undefined ? null : Math.min(measuredTokens.prompt, measuredTokens.context)
}
