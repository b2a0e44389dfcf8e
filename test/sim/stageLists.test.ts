import { expect, it } from 'vitest'
import type { Program, Stage } from '../../src/plan/price/program.ts'
import { createFast } from '../../src/sim/fast.ts'
import { createLink } from '../../src/trace/link.ts'
import { plainWorld } from './plainWorld.ts'
import { EDGE, list, program, stage } from './worlds.ts'

const link = createLink({
  timeSeconds: Float64Array.of(0, 1),
  upBitsPerSecond: Float64Array.of(8e6),
  downBitsPerSecond: Float64Array.of(8e6),
  rttSeconds: Float64Array.of(0.1),
  label: 'plain',
})

/** When a program's request of one token ends in a simulator of its own. */
function endSeconds(one: Program): number {
  const simulation = createFast(plainWorld(link, [[0, 1, 1]]))
  simulation.advance()
  simulation.dispatch(one)
  simulation.advance()
  return simulation.outcomes[0].lastTokenSeconds
}

it('reads the lists of a program itself, not as another simulator knew them', () => {
  const stages: Stage[] = [stage(EDGE, [], { seconds: 1 })]
  const one = program(list(stages), [list(stages)])
  expect(endSeconds(one)).toBe(1)
  stages[0] = stage(EDGE, [], { seconds: 3 })
  expect(endSeconds(one)).toBe(3)
})
