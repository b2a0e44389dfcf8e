/**
 * Slowdown of a cloud stage that starts while `active` sequences (other tenants' and ours, including this one) are in
 * the batch: the batch curve up to `slots`, time sharing above.
 */
export function cloudSlowdown(batchFactors: readonly number[], slots: number, active: number): number {
  const within = Math.max(1, Math.min(active, slots))
  const low = Math.floor(within)
  const high = Math.min(low + 1, slots)
  const factor = batchFactors[low - 1] + (batchFactors[high - 1] - batchFactors[low - 1]) * (within - low)
  return active > slots ? (factor * active) / slots : factor
}
