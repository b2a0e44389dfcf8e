import { loadModel } from '../src/model/catalog.ts'
import { edgeMemory } from '../src/plan/price/memory.ts'
import { DEFAULT_OBJECTIVE } from '../src/plan/price/objective.ts'
import { optimalPlan } from '../src/plan/oracle/oracle.ts'
import { createPair, pairUnits, type DevicePair } from '../src/plan/price/pair.ts'
import { EDGE, uniformPlan } from '../src/plan/plan.ts'
import { NO_PRICES, defaultOptions, type OracleInput } from '../src/plan/price/question.ts'
import { accuracyTable } from '../src/plan/profile/accuracy.ts'
import { BlockCosts } from '../src/plan/profile/costs.ts'
import { datasheetProfile } from '../src/plan/profile/datasheet.ts'

/** One figure of a benchmark. */
interface BenchResult {
  readonly name: string
  readonly value: number
  readonly unit: string
}

const PROMPT_TOKENS = 256
const OUTPUT_TOKENS = 128
const RTT_MILLISECONDS = [0.2, 0.5, 1, 2, 5, 20, 60] as const
const MEMORY_SHARES = [0.3, 0.5, 0.7, 0.9] as const

/**
 * What head-level freedom is worth: how much the exact optimum falls when a layer's heads may lie on both sides and
 * the FFN may be cut, against the exact optimum without either. Data-sheet devices: every figure is modelled.
 */
export function run(): Promise<BenchResult[]> {
  const gain = (input: OracleInput): number => {
    const value = (mixedLayers: boolean): number =>
      optimalPlan({ ...input, options: { ...input.options, mixedLayers } })?.value ?? NaN
    const whole = value(false)
    return (100 * (whole - value(true))) / whole
  }
  const rows: BenchResult[] = []
  for (const rtt of RTT_MILLISECONDS) {
    const name = (what: string): string => `heads: ${what}, RTT ${rtt} ms`
    rows.push({ name: name('two equal slow devices, 1 Gbit/s'), value: gain(lan(rtt)), unit: '%' })
    rows.push({ name: name('edge and data centre, 50 Mbit/s'), value: gain(wan(rtt)), unit: '%' })
  }
  for (const share of MEMORY_SHARES) {
    const name = `heads: dear cloud, edge memory for ${100 * share} % of the model, RTT 2 ms`
    rows.push({ name, value: gain(packed(share)), unit: '%' })
  }
  return Promise.resolve(rows)
}

const model = loadModel('gpt2-xl')

function pairOf(edge: string, cloud: string): DevicePair {
  const [near, far] = [edge, cloud].map((id) => new BlockCosts(datasheetProfile(id, model)))
  return createPair(near, far, accuracyTable(model))
}

function ask(pair: DevicePair, megabits: number, rttMilliseconds: number): OracleInput {
  const rate = megabits * 1e6
  return {
    pair,
    state: {
      link: { upBitsPerSecond: rate, downBitsPerSecond: rate, rttSeconds: rttMilliseconds / 1e3 },
      promptTokens: PROMPT_TOKENS,
      outputTokens: OUTPUT_TOKENS,
      edgeSlowdown: 1,
      cloudSlowdown: 1,
    },
    objective: DEFAULT_OBJECTIVE,
    readingTokensPerSecond: 10,
    options: { ...defaultOptions(pair, PROMPT_TOKENS, OUTPUT_TOKENS), memoryBytes: Infinity },
    prices: NO_PRICES,
  }
}

function lan(rttMilliseconds: number): OracleInput {
  return ask(pairOf('raspberry-pi-5', 'raspberry-pi-5'), 1000, rttMilliseconds)
}

function wan(rttMilliseconds: number): OracleInput {
  return ask(pairOf('raspberry-pi-5', 'a100'), 50, rttMilliseconds)
}

/** The cloud costs so much that the edge takes what fits: heads fill the memory to the brim. */
function packed(share: number): OracleInput {
  const input = ask(pairOf('jetson-orin-nx', 'a100'), 1000, 2)
  const edge = uniformPlan(model.layers, pairUnits(input.pair), EDGE)
  const { weightBytes, kvBytesPerToken } = edgeMemory(input.pair, edge)
  const memoryBytes = share * (weightBytes + kvBytesPerToken * input.options.reservedTokens)
  const objective = { ...input.objective, weights: { ...input.objective.weights, cloud: 50 } }
  return { ...input, objective, options: { ...input.options, memoryBytes } }
}
