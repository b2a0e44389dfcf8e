import { formatMisfit } from '../../plan/price/memory.ts'
import { extrapolatedFrom } from '../../plan/profile/precision.ts'
import type { Profile } from '../../plan/profile/types.ts'
import type { Scenario } from '../../sim/scenario/scenario.ts'

/**
 * A one-line warning if the simulator was never calibrated against the real runtime with the edge profile, or missed
 * its targets; null if it was calibrated and met them.
 */
export function calibrationWarning(profile: Profile): string | null {
  const { calibration, device, model, blocks } = profile
  const which = `the edge profile (${model.id} on ${device.id})`
  const { kind } = blocks.head.provenance
  if (kind !== 'measured') return `${which} is ${kind}: it cannot be calibrated here`
  if (calibration === undefined) {
    return `${which} was never held to the real runtime: \`edgewise calibrate --profile\` does`
  }
  if (calibration.verdict === 'met') return null
  return `${which} missed targets of its calibration of ${calibration.at}: see its terms`
}

/** A one-line warning if requests may be longer than a profile was measured; null if they cannot be. */
export function lengthWarning({ problem }: Scenario): string | null {
  const { edge, cloud, model } = problem.pair
  const limits = [edge, cloud].flatMap(({ profile }) => extrapolatedFrom(profile) ?? [])
  if (limits.length === 0) return null
  const least = Math.min(...limits)
  return `a profile was measured up to ${least} tokens; requests of more, up to ${model.contextTokens}, have extrapolated seconds: \`edgewise profile --max-tokens\` measures further`
}

/** A one-line warning if the load is relative to an edge that cannot hold the model; null if it can. */
export function loadWarning({ config, edgeMisfit }: Scenario): string | null {
  if (edgeMisfit === null) return null
  const { load } = config.workload
  return `the whole model on the edge ${formatMisfit(edgeMisfit)}: load ${load} is relative to an edge of this speed with memory for it`
}
