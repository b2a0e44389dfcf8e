import type { BoundaryBits } from '../../plan/plan.ts'

/** Splitwise's thresholds (arXiv 2512.23310): above the first 16 bits, above the second 8, else 4. */
const WIDE = 0.2
const MIDDLE = 0.1

/**
 * Bits of each layer's boundary tensors by their sensitivity, which is normalised by the largest: its own measure
 * (divergence at 4 bits) does not depend on how many layers share it. Sensitivities below 0 count as 0.
 */
export function rankedWidths(perLayerSensitivity: readonly number[]): BoundaryBits[] {
  const largest = Math.max(0, ...perLayerSensitivity)
  return perLayerSensitivity.map((sensitivity) => {
    const share = largest === 0 ? 0 : sensitivity / largest
    return share > WIDE ? 16 : share > MIDDLE ? 8 : 4
  })
}
