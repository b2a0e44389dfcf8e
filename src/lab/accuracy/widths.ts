import type { BoundaryBits } from '../../plan/plan.ts'

/** Splitwise's thresholds (arXiv 2512.23310): 16 bits above the first, 8 above the second, otherwise 4. */
const WIDE = 0.2
const MIDDLE = 0.1

/**
 * Bits of each layer's boundary tensors from their sensitivity (divergence at 4 bits), normalised by the largest, so
 * that the result does not depend on the number of layers. Negative sensitivities count as 0.
 */
export function rankedWidths(perLayerSensitivity: readonly number[]): BoundaryBits[] {
  const largest = Math.max(0, ...perLayerSensitivity)
  return perLayerSensitivity.map((sensitivity) => {
    const share = largest === 0 ? 0 : sensitivity / largest
    return share > WIDE ? 16 : share > MIDDLE ? 8 : 4
  })
}
