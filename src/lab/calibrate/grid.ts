import type { RandomStream } from '../../core/random.ts'
import type { ModelSpec } from '../../model/spec.ts'
import type { Cell, Lengths, LinkCase, PlanCase } from './types.ts'

/** Combinations of prompt and output tokens. */
const LENGTHS: readonly Lengths[] = [
  { promptTokens: 16, outputTokens: 12 },
  { promptTokens: 200, outputTokens: 16 },
]

/** Largest number of requests in flight. */
export const MAX_IN_FLIGHT = 3
/** Requests of one cell under load. */
const LOADED_REQUESTS = 4
/**
 * Ratio of the time of one unloaded request to the mean interarrival time: about this many requests are there at once.
 */
const OFFERED = 2
/** Plans of the small grid: edge, cloud, one cut in each direction, and an exit if the model has one. */
const QUICK_PLANS = [
  'edge',
  'cloud',
  'cut 32 bits, sampler at the edge',
  'cut 8 bits, sampler in the cloud',
  'early exit, collaborative',
]

/** What the grid is made from. */
interface GridOptions {
  readonly model: ModelSpec
  readonly plans: readonly PlanCase[]
  readonly links: readonly LinkCase[]
  readonly quick: boolean
  readonly random: RandomStream
  /** Predicted time of one unloaded request of the cell, seconds. */
  readonly aloneSeconds: (cell: Omit<Cell, 'arrivalSeconds'>) => number
}

/**
 * Every combination unloaded; under Poisson load only the shortest requests, with which queues form soonest, and in the
 * small grid only over the first link.
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

/** Poisson arrivals, the first at 0. */
function poisson(count: number, meanSeconds: number, random: RandomStream): number[] {
  const times = [0]
  while (times.length < count) times.push(times[times.length - 1] + random.exponential(meanSeconds))
  return times
}
