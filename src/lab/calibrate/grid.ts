import type { RandomStream } from '../../core/random.ts'
import type { ModelSpec } from '../../model/spec.ts'
import type { Cell, Lengths, LinkCase, PlanCase } from './types.ts'

/** Prompt and output tokens. */
export const LENGTHS: readonly Lengths[] = [
  { promptTokens: 16, outputTokens: 12 },
  { promptTokens: 200, outputTokens: 16 },
]

export const MAX_IN_FLIGHT = 3
/** Requests of one cell under load. */
const LOADED_REQUESTS = 4
/** Mean gap between arrivals over what a request takes alone: about so many are there at a time. */
const OFFERED = 2
/** Plans of the small grid: the ends, a cut each way, an exit where the model has one. */
const QUICK_PLANS = [
  ...['edge', 'cloud', 'cut 32 bits, sampler at the edge', 'cut 8 bits, sampler in the cloud'],
  'early exit, collaborative',
]

export interface GridOptions {
  readonly model: ModelSpec
  readonly plans: readonly PlanCase[]
  readonly links: readonly LinkCase[]
  readonly quick: boolean
  readonly random: RandomStream
  /** What a request takes alone as predicted, seconds. */
  readonly aloneSeconds: (cell: Omit<Cell, 'arrivalSeconds'>) => number
}

/**
 * Every combination alone; under Poisson load the shortest requests only, which is where queues form soonest, and in
 * the small grid over the first link only.
 */
export function gridCells(options: GridOptions): Cell[] {
  const { model, links, quick, random } = options
  const plans = options.plans.filter(({ id }) => !quick || QUICK_PLANS.includes(id))
  const fitting = LENGTHS.filter((one) => one.promptTokens + one.outputTokens <= model.contextTokens)
  const lengths = quick ? fitting.slice(0, 1) : fitting
  const cells: Cell[] = []
  for (const [i, { id: link }] of links.entries()) {
    for (const { id: plan } of plans) {
      for (const one of lengths) cells.push({ ...named(plan, link, one, 'alone'), arrivalSeconds: [0] })
      if (quick && i > 0) continue
      const loaded = named(plan, link, lengths[0], 'poisson')
      const mean = options.aloneSeconds(loaded) / OFFERED
      const arrivalSeconds = poisson(LOADED_REQUESTS, mean, random)
      cells.push({ ...loaded, arrivalSeconds })
    }
  }
  return cells
}

function named(
  plan: string,
  link: string,
  lengths: Lengths,
  load: Cell['load'],
): Omit<Cell, 'arrivalSeconds'> {
  const id = `${plan} | ${link} | ${lengths.promptTokens}+${lengths.outputTokens} | ${load}`
  return { id, plan, link, load, ...lengths }
}

/** The first at 0. */
function poisson(count: number, meanSeconds: number, random: RandomStream): number[] {
  const times = [0]
  while (times.length < count) times.push(times[times.length - 1] + random.exponential(meanSeconds))
  return times
}
