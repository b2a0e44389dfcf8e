import { describe, expect, it } from 'vitest'
import { randomStream } from '../../src/core/random.ts'
import { layerEdges, problemOf } from '../../src/plan/oracle/paths.ts'
import { follow, layersOf, relax, choicePathOf, type ChoicePath } from '../../src/plan/oracle/relax.ts'
import { solve, type Problem } from '../../src/plan/oracle/solve.ts'
import { AttentionTimes, layerTables } from '../../src/plan/oracle/tables.ts'
import { OracleWorkspace } from '../../src/plan/oracle/workspace.ts'
import { CLOUD, EDGE, type Side } from '../../src/plan/plan.ts'
import { randomInput } from './randomInput.ts'
import { wholeEdgeBytes } from './randomProblem.ts'

/** Shortest paths over four layers whose memory binds, so that bounds alone do not answer them. */
function boundProblems(seed: number): Problem[] {
  const random = randomStream(seed, 'workspace')
  const input = randomInput(random, { layers: 4, units: 4, grouped: false }, 'convex')
  const memoryBytes = 0.5 * wholeEdgeBytes(input.pair, input.options.reservedTokens)
  const asked = { ...input, options: { ...input.options, memoryBytes } }
  const times = new AttentionTimes(asked.pair, asked.state)
  const layers = layerEdges(asked, layerTables(asked.pair, asked.state, 16, times), 16)
  const sides: readonly Side[] = [EDGE, CLOUD]
  return sides.map((embed) => problemOf(asked, 16, layers, embed, EDGE))
}

/** What a walk says and what its steps add up to. */
function figures(problem: Problem, layers: Parameters<typeof choicePathOf>[1], walk: ChoicePath) {
  const summed = choicePathOf(problem, layers, walk.choices, walk.sides)
  return { value: walk.value, summed: summed.value, choices: [...walk.choices], sides: [...walk.sides] }
}

describe('an oracle workspace', () => {
  it('keeps its paths while other workspaces solve', () => {
    const held = Array.from({ length: 40 }, (_, seed) => {
      const [problem] = boundProblems(seed)
      const [layers] = layersOf([problem], new OracleWorkspace())
      const { slope, intercept } = problem.tangents[problem.tangents.length - 1]
      const walk = follow(problem, layers, relax(problem, layers, slope, 0, intercept, 'any'))
      return { problem, layers, walk, before: figures(problem, layers, walk) }
    })
    // Else an overwritten path would look like the one that was there.
    expect(new Set(held.map(({ before }) => JSON.stringify(before.choices))).size).toBeGreaterThan(2)
    for (const { problem, layers, walk, before } of held) {
      expect(before.summed).toBe(before.value)
      expect(figures(problem, layers, walk)).toEqual(before)
    }
  })

  it('is not needed: a solve in the midst of another one leaves it as it was', () => {
    let nested = 0
    for (let seed = 1; seed <= 60; seed++) {
      const problems = boundProblems(seed)
      const alone = solve(problems, Infinity)
      const others = boundProblems(1000 + seed)
      let left = 40
      const disturbed = problems.map((problem): Problem => {
        const penalty = (time: number): number => {
          if (left-- > 0) {
            solve(others, Infinity)
            nested++
          }
          return problem.penalty(time)
        }
        return { ...problem, penalty }
      })
      expect(solve(disturbed, Infinity)).toEqual(alone)
    }
    expect(nested).toBeGreaterThan(300)
  })

  it('gives answers that the next solve in it does not change', () => {
    const workspace = new OracleWorkspace()
    const first = solve(boundProblems(1), Infinity, undefined, workspace)
    const kept = structuredClone(first)
    expect(solve(boundProblems(2), Infinity, undefined, workspace)).not.toEqual(kept)
    expect(first).toEqual(kept)
  })
})
