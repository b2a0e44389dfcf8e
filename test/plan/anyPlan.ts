import type { RandomStream } from '../../src/core/random.ts'
import { attentionUnits } from '../../src/model/spec.ts'
import { BOUNDARY_BITS, exitPlan, type Plan } from '../../src/plan/plan.ts'
import type { DevicePair } from '../../src/plan/price/pair.ts'
import { randomPlan, withRandomWidths } from '../run/executor/randomPlan.ts'

/** Any plan at all: a split of any shape, with one width or widths by layer, or an early exit. */
export function anyPlan(random: RandomStream, { model, accuracy }: DevicePair): Plan {
  const bits = BOUNDARY_BITS[random.integer(4)]
  const kind = random.integer(3)
  const uniform = randomPlan(random, model, bits)
  if (kind < 2) return kind === 0 ? uniform.plan : withRandomWidths(random, uniform).plan
  const { layer, threshold } = accuracy.exits[random.integer(accuracy.exits.length)]
  const mode = random.integer(2) === 0 ? 'standalone' : 'collaborative'
  return exitPlan(model.layers, attentionUnits(model), { layer, threshold, mode }, bits)
}
