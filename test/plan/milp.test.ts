import highsModule from 'highs'
import { describe, expect, it } from 'vitest'
import { randomStream } from '../../src/core/random.ts'
import { boundaryLoss } from '../../src/plan/profile/accuracy.ts'
import { edgeMemory } from '../../src/plan/price/memory.ts'
import { NO_PRICES, type OracleInput } from '../../src/plan/price/question.ts'
import { optimalPlan } from '../../src/plan/oracle/oracle.ts'
import { planValue } from '../../src/plan/oracle/value.ts'
import { pairUnits } from '../../src/plan/price/pair.ts'
import {
  CLOUD,
  EDGE,
  sideAfterFfn,
  uniformPlan,
  type BoundaryBits,
  type Plan,
  type Side,
} from '../../src/plan/plan.ts'
import { AttentionTimes, choiceIndex, layerTables } from '../../src/plan/oracle/tables.ts'
import { randomProblem, wholeEdgeBytes } from './randomProblem.ts'

// Its one declaration file serves both module systems and says namespace where an ES import finds the loader.
const highs = await (highsModule as unknown as (typeof highsModule)['default'])()
const SIDES: readonly Side[] = [EDGE, CLOUD]
const BITS: readonly BoundaryBits[] = [32, 8]

/** One choice of a layer as the program sees it: an arc of the network from side to side. */
interface Arc {
  readonly from: Side
  readonly unitsOnCloud: number
  readonly ffn: number
  readonly cost: number
  readonly bytes: number
}

/** The objective of each arc from the tables, priced here anew; edge bytes by what the arc adds to an all-cloud plan. */
function arcsOf(input: OracleInput, bits: BoundaryBits): Arc[] {
  const { pair, state, prices } = input
  const { weights } = input.objective
  const { power } = pair
  const units = pairUnits(pair)
  const t = layerTables(pair, state, bits, new AttentionTimes(pair, state))
  const arcs: Arc[] = []
  for (const from of SIDES) {
    for (let unitsOnCloud = 0; unitsOnCloud <= units; unitsOnCloud++) {
      for (let ffn = 0; ffn < 3; ffn++) {
        const at = choiceIndex(units, from, unitsOnCloud, ffn)
        const seconds = t.prefillSeconds[at] + t.decodeSeconds[at]
        const marginalJoules =
          (power.busyWatts - power.idleWatts) * t.edgeSeconds[at] +
          power.radioJoulesPerByte * (t.upBytes[at] + t.downBytes[at]) +
          power.radioJoulesPerMessage * t.messages[at]
        const cost =
          weights.latency * seconds +
          weights.energy * power.idleWatts * seconds +
          (weights.energy + prices.edgeJoule) * marginalJoules +
          (weights.cloud + prices.cloudSecond) * t.cloudSeconds[at] +
          prices.edgeSecond * t.edgeSeconds[at] +
          (weights.bytes / 1e6 + prices.upByte) * t.upBytes[at] +
          (weights.accuracy + prices.accuracyNat) * boundaryLoss(pair.accuracy, bits) * t.crossings[at]
        arcs.push({ from, unitsOnCloud, ffn, cost, bytes: bytesAdded(input, unitsOnCloud, ffn) })
      }
    }
  }
  return arcs
}

function planBytes(input: OracleInput, plan: Plan): number {
  const { weightBytes, kvBytesPerToken } = edgeMemory(input.pair, plan)
  return weightBytes + kvBytesPerToken * input.options.reservedTokens
}

function bytesAdded(input: OracleInput, unitsOnCloud: number, ffn: number): number {
  const cloud = uniformPlan(input.pair.model.layers, pairUnits(input.pair), CLOUD)
  const plan = { ...cloud, unitsOnCloud: cloud.unitsOnCloud.slice(), ffn: cloud.ffn.slice() }
  plan.unitsOnCloud[0] = unitsOnCloud
  plan.ffn[0] = ffn
  return planBytes(input, plan) - planBytes(input, cloud)
}

/** What embedding, LM head and the cycle's closing cost and take, by the last side: the walk of one plan, less its layers. */
function endsOf(input: OracleInput, arcs: readonly Arc[], embed: Side, head: Side, bits: BoundaryBits) {
  const { layers } = input.pair.model
  const units = pairUnits(input.pair)
  return SIDES.map((last) => {
    const plan: Plan = { ...uniformPlan(layers, units, last, bits), embed, head }
    const arcFrom = (side: Side): Arc | undefined =>
      arcs.find(
        (arc) =>
          arc.from === side &&
          arc.unitsOnCloud === plan.unitsOnCloud[0] &&
          sideAfterFfn(arc.ffn) === last &&
          arc.ffn < 2,
      )
    const first = arcFrom(embed)
    const others = arcFrom(last)
    if (first === undefined || others === undefined) throw new Error('every side has arcs to every side')
    return {
      cost: planValue(input, plan) - first.cost - (layers - 1) * others.cost,
      bytes: planBytes(input, plan) - first.bytes - (layers - 1) * others.bytes,
    }
  })
}

/** A shortest path with a knapsack row, in CPLEX LP format. */
function lpText(
  input: OracleInput,
  arcs: readonly Arc[],
  ends: readonly { cost: number; bytes: number }[],
  embed: Side,
): string {
  const { layers } = input.pair.model
  const name = (layer: number, arc: number): string => `x_${layer}_${arc}`
  const terms: string[] = []
  const memory: string[] = []
  const names: string[] = []
  const add = (variable: string, cost: number, bytes: number): void => {
    terms.push(`${number(cost)} ${variable}`)
    // Megabytes, so that the rows are of one scale.
    memory.push(`${number(bytes / 1e6)} ${variable}`)
    names.push(variable)
  }
  for (let layer = 0; layer < layers; layer++)
    arcs.forEach((arc, i) => add(name(layer, i), arc.cost, arc.bytes))
  ends.forEach(({ cost, bytes }, side) => add(`y_${side}`, cost, bytes))
  const into = (layer: number, side: Side): string[] =>
    arcs.flatMap((arc, i) => (sideAfterFfn(arc.ffn) === side ? [name(layer, i)] : []))
  const outOf = (layer: number, side: Side): string[] =>
    layer === layers ? [`y_${side}`] : arcs.flatMap((arc, i) => (arc.from === side ? [name(layer, i)] : []))
  const rows: string[] = []
  for (const side of SIDES) {
    rows.push(`${outOf(0, side).join(' + ')} = ${side === embed ? 1 : 0}`)
    for (let layer = 1; layer <= layers; layer++) {
      rows.push(`${into(layer - 1, side).join(' + ')} - ${outOf(layer, side).join(' - ')} = 0`)
    }
  }
  if (Number.isFinite(input.options.memoryBytes)) {
    rows.push(`${memory.join(' + ')} <= ${number(input.options.memoryBytes / 1e6)}`)
  }
  const subjects = rows.map((row, i) => ` r${i}: ${row}`).join('\n')
  return `Minimize\n obj: ${terms.join(' + ')}\nSubject To\n${subjects}\nBinary\n ${names.join('\n ')}\nEnd\n`
}

function number(value: number): string {
  return value.toFixed(15)
}

/** The plan HiGHS finds, walked token by token; null where it finds none. */
function solvedByHighs(input: OracleInput): { plan: Plan; objective: number } | null {
  const { layers } = input.pair.model
  let best: { plan: Plan; objective: number } | null = null
  for (const boundaryBits of BITS) {
    const arcs = arcsOf(input, boundaryBits)
    for (const embed of SIDES) {
      for (const head of SIDES) {
        const ends = endsOf(input, arcs, embed, head, boundaryBits)
        const solution = highs.solve(lpText(input, arcs, ends, embed), { mip_rel_gap: 0, mip_abs_gap: 0 })
        if (solution.Status === 'Infeasible') continue
        expect(solution.Status).toBe('Optimal')
        if (best !== null && best.objective <= solution.ObjectiveValue) continue
        const chosen = Array.from({ length: layers }, (_, layer) =>
          arcs.find((_arc, i) => primal(solution.Columns[`x_${layer}_${i}`]) > 0.5),
        )
        const unitsOnCloud = Uint8Array.from(chosen, (arc) => arc?.unitsOnCloud ?? 255)
        const ffn = Uint8Array.from(chosen, (arc) => arc?.ffn ?? 255)
        const plan: Plan = { embed, unitsOnCloud, ffn, head, boundaryBits, exit: null }
        best = { plan, objective: solution.ObjectiveValue }
      }
    }
  }
  return best
}

function primal(column: object): number {
  return 'Primal' in column ? Number(column.Primal) : NaN
}

function randomInput(seed: number, limited: boolean): OracleInput {
  const random = randomStream(seed, 'milp')
  const shape = { layers: 8 + random.integer(5), units: 4 + random.integer(5) }
  const problem = randomProblem(random, shape, 'mean')
  const promptTokens = 1 + random.integer(300)
  const outputTokens = 1 + random.integer(40)
  const reservedTokens = promptTokens + outputTokens
  const memoryBytes = limited
    ? wholeEdgeBytes(problem.pair, reservedTokens) * (0.2 + 0.75 * random.uniform())
    : Infinity
  return {
    ...problem,
    state: {
      link: {
        upBitsPerSecond: 10 ** (7 + 3 * random.uniform()),
        downBitsPerSecond: 10 ** (7 + 3 * random.uniform()),
        // Short enough that splitting a layer may pay.
        rttSeconds: 10 ** (-6 + 2.5 * random.uniform()),
      },
      promptTokens,
      outputTokens,
      edgeSlowdown: 1,
      cloudSlowdown: 1 + random.uniform(),
    },
    options: {
      ...problem,
      earlyExit: false,
      boundaryBits: BITS,
      mixedLayers: true,
      memoryBytes,
      reservedTokens,
    },
    prices:
      random.uniform() < 0.5
        ? NO_PRICES
        : { edgeSecond: 1, cloudSecond: 0.5, upByte: 1e-7, edgeJoule: 0.2, accuracyNat: 2 },
  }
}

describe('the oracle equals HiGHS on models of 8 to 12 layers and 4 to 8 units', () => {
  it.each([
    ['without a memory limit', false, 6],
    ['under a memory limit', true, 6],
  ])('%s', (_, limited, cases) => {
    for (let seed = 0; seed < cases; seed++) {
      const input = randomInput(seed, limited)
      const independent = solvedByHighs(input)
      const answer = optimalPlan(input)
      if (independent === null) {
        expect(answer).toBeNull()
        continue
      }
      const walked = planValue(input, independent.plan)
      // HiGHS works to 1e-7 or so; its plan, walked, must be the optimum to 1e-9.
      expect(Math.abs(independent.objective - walked)).toBeLessThanOrEqual(1e-6 * walked)
      expect(answer?.value).toBeGreaterThanOrEqual(walked * (1 - 1e-6))
      expect(answer?.value).toBeLessThanOrEqual(walked * (1 + 1e-9))
      expect(planBytes(input, answer!.plan)).toBeLessThanOrEqual(input.options.memoryBytes)
    }
  })
})
