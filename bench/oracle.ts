import { systemClock } from '../src/core/clock.ts'
import { median } from '../src/core/quantile.ts'
import { loadModel } from '../src/model/catalog.ts'
import { DEFAULT_OBJECTIVE, type LatencyForm } from '../src/plan/price/objective.ts'
import { optimalPlan } from '../src/plan/oracle/oracle.ts'
import { OracleWorkspace } from '../src/plan/oracle/workspace.ts'
import { NO_PRICES, defaultOptions, type OracleInput } from '../src/plan/price/question.ts'
import { createPair } from '../src/plan/price/pair.ts'
import { accuracyTable } from '../src/plan/profile/accuracy.ts'
import { BlockCosts } from '../src/plan/profile/costs.ts'
import { datasheetProfile } from '../src/plan/profile/datasheet.ts'

/** One figure of a benchmark. */
interface BenchResult {
  readonly name: string
  readonly value: number
  readonly unit: string
}

const CALLS = 101
const PROMPT_TOKENS = 512
const OUTPUT_TOKENS = 128

/** LLaMA-7B with its 32 heads between an embedded GPU and a data-centre one, every boundary width, no limit on memory. */
function question(call: number, latency: LatencyForm): OracleInput {
  return {
    pair,
    state: {
      // Another link each time, so that nothing can be remembered.
      link: { upBitsPerSecond: 1e7 * (1 + call / CALLS), downBitsPerSecond: 5e7, rttSeconds: 0.02 },
      promptTokens: PROMPT_TOKENS,
      outputTokens: OUTPUT_TOKENS,
      edgeSlowdown: 1,
      cloudSlowdown: 1,
    },
    objective: { ...DEFAULT_OBJECTIVE, latency },
    readingTokensPerSecond: 10,
    options: { ...defaultOptions(pair, PROMPT_TOKENS, OUTPUT_TOKENS), memoryBytes: Infinity },
    prices: NO_PRICES,
  }
}

const model = loadModel('llama-7b')
const [edge, cloud] = ['jetson-orin-nx', 'a100'].map((id) => new BlockCosts(datasheetProfile(id, model)))
const pair = createPair(edge, cloud, accuracyTable(model))

/** Median milliseconds of one exact optimum inside the process. */
export function run(): Promise<BenchResult[]> {
  const qoe: LatencyForm = { form: 'qoe', readingTokensPerSecond: 10 }
  const cases: [string, (call: number) => OracleInput][] = [
    ['mean latency', (call) => question(call, { form: 'mean' })],
    ['quality of experience', (call) => question(call, qoe)],
    ['a dear cloud on a LAN, 8 GB at the edge', (call) => packed(question(call, { form: 'mean' }))],
    ['the same, quality of experience', (call) => packed(question(call, qoe))],
  ]
  return Promise.resolve(
    cases.map(([name, of]) => ({
      name: `oracle, LLaMA-7B, 32 heads, ${name}`,
      value: medianMilliseconds(of),
      unit: 'ms',
    })),
  )
}

/** Memory binds: the edge would take everything, and only some of it fits. */
function packed(input: OracleInput): OracleInput {
  const { state, objective, options } = input
  return {
    ...input,
    state: { ...state, link: { ...state.link, rttSeconds: 2e-4 } },
    objective: { ...objective, weights: { ...objective.weights, cloud: 20 } },
    options: { ...options, memoryBytes: 8e9 },
  }
}

function medianMilliseconds(of: (call: number) => OracleInput): number {
  const workspace = new OracleWorkspace()
  const solve = (input: OracleInput) => optimalPlan(input, { left: Infinity }, workspace)
  for (let call = 0; call < CALLS; call++) solve(of(call))
  const times = Float64Array.from({ length: CALLS }, (_, call) => {
    const input = of(call)
    const start = systemClock.nowSeconds()
    if (solve(input) === null) throw new Error('expected a plan')
    return 1e3 * (systemClock.nowSeconds() - start)
  })
  return median(times)
}
