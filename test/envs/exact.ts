import type { FiniteChain } from './chainModel.ts'
import { EdgewiseError, InputError } from '../../src/core/errors.ts'

/**
 * Long-run average cost of a finite chain, exactly: of the best policy by relative value iteration, and of
 * a given one. Time is uniformised (Puterman 1994, section 11.5); the bounds are Odoni's (1969). It needs a
 * chain that has one recurrent class under every policy asked about.
 */

export interface AverageCost {
  /** Long-run average cost per second, in the middle of `bounds`. */
  readonly costPerSecond: number
  /** The true value lies between them. */
  readonly bounds: readonly [lower: number, upper: number]
  /** [size]: by how much starting in a state is dearer than starting in state 0, in cost. */
  readonly values: Float64Array
  /** [size]: the action taken (the first of equals); -1 where nothing is decided. */
  readonly policy: Int32Array
  readonly sweeps: number
}

export interface ExactOptions {
  /** Width of the bounds at which to stop, as a share of the cost. */
  readonly tolerance?: number
  readonly maxSweeps?: number
  /** Values to start from: those of a like policy save sweeps. */
  readonly from?: Float64Array
}

/** The least average cost any policy has, and a policy that has it. */
export function optimalAverageCost(chain: FiniteChain, options: ExactOptions = {}): AverageCost {
  return iterate(compile(chain, null), options)
}

/** The average cost of doing policy[state] wherever something is decided; InputError for what is not allowed there. */
export function averageCostOf(
  chain: FiniteChain,
  policy: Int32Array,
  options: ExactOptions = {},
): AverageCost {
  return iterate(compile(chain, policy), options)
}

/** A chain in flat arrays; entries of states[i] are from start[i] to start[i + 1]. */
interface Compiled {
  readonly size: number
  /** Uniform rate per second: above all others, so that every state can also stay. */
  readonly rate: number
  /** States in which time passes: cost per step, and (probability, next) of every event. */
  readonly timed: Int32Array
  readonly stepCost: Float64Array
  readonly eventStart: Int32Array
  readonly eventNext: Int32Array
  readonly eventProbability: Float64Array
  /** States in which something is decided, each after those it leads to. */
  readonly instants: Int32Array
  readonly choiceStart: Int32Array
  readonly choiceNext: Int32Array
  readonly choiceCost: Float64Array
  readonly choiceAction: Int32Array
}

function compile(chain: FiniteChain, policy: Int32Array | null): Compiled {
  const all = Array.from({ length: chain.size }, (_, state) => state)
  const choicesOf = all.map((state) => allowed(chain, state, policy))
  const timed = all.filter((state) => choicesOf[state] === null)
  const events = timed.map((state) => chain.events(state))
  const rate =
    1.05 * Math.max(...events.map((list) => list.reduce((sum, { perSecond }) => sum + perSecond, 0)))
  const flatEvents = events.flat()
  const instants = inOrder(choicesOf)
  const choices = instants.map((state) => choicesOf[state]!)
  const flatChoices = choices.flat()
  return {
    size: chain.size,
    rate,
    timed: Int32Array.from(timed),
    stepCost: Float64Array.from(timed, (state, i) => {
      return events[i].reduce((sum, e) => sum + e.perSecond * e.cost, chain.costPerSecond(state)) / rate
    }),
    eventStart: starts(events),
    eventNext: Int32Array.from(flatEvents, ({ next }) => next),
    eventProbability: Float64Array.from(flatEvents, ({ perSecond }) => perSecond / rate),
    instants: Int32Array.from(instants),
    choiceStart: starts(choices),
    choiceNext: Int32Array.from(flatChoices, ({ next }) => next),
    choiceCost: Float64Array.from(flatChoices, ({ cost }) => cost),
    choiceAction: Int32Array.from(flatChoices, ({ action }) => action),
  }
}

type Choices = NonNullable<ReturnType<FiniteChain['choices']>>

/** The choices of a state: all of them, or the one the policy takes. */
function allowed(chain: FiniteChain, state: number, policy: Int32Array | null): Choices | null {
  const choices = chain.choices(state)
  if (choices === null || policy === null) return choices
  const chosen = choices.filter(({ action }) => action === policy[state])
  if (chosen.length === 1) return chosen
  const actions = choices.map(({ action }) => action).join(', ')
  throw new InputError({
    where: `policy: state ${state}`,
    expected: `one of the actions ${actions}`,
    found: String(policy[state]),
  })
}

/** Instants, each after the instants its choices lead to; InputError where they lead round in a circle. */
function inOrder(choicesOf: readonly (Choices | null)[]): number[] {
  const order: number[] = []
  const mark = new Uint8Array(choicesOf.length)
  const visit = (state: number): void => {
    const choices = choicesOf[state]
    if (choices === null || mark[state] === 2) return
    if (mark[state] === 1)
      throw new InputError({
        where: `chain: state ${state}`,
        expected: 'choices that lead on',
        found: 'choices that lead round in a circle',
      })
    mark[state] = 1
    for (const { next } of choices) visit(next)
    mark[state] = 2
    order.push(state)
  }
  choicesOf.forEach((_, state) => visit(state))
  return order
}

function starts(lists: readonly (readonly unknown[])[]): Int32Array {
  const start = new Int32Array(lists.length + 1)
  lists.forEach((list, i) => (start[i + 1] = start[i] + list.length))
  return start
}

function iterate(chain: Compiled, options: ExactOptions): AverageCost {
  const { tolerance = 1e-9, maxSweeps = 200_000 } = options
  const values = options.from?.slice() ?? new Float64Array(chain.size)
  const policy = new Int32Array(chain.size).fill(-1)
  const next = new Float64Array(chain.timed.length)
  for (let sweeps = 1; sweeps <= maxSweeps; sweeps++) {
    decide(chain, values, policy)
    const [least, most] = step(chain, values, next)
    const bounds = [least * chain.rate, most * chain.rate] as const
    const costPerSecond = (bounds[0] + bounds[1]) / 2
    for (let i = 0; i < next.length; i++) values[chain.timed[i]] = next[i]
    if (bounds[1] - bounds[0] <= tolerance * Math.max(Math.abs(costPerSecond), 1e-12)) {
      decide(chain, values, policy)
      return { costPerSecond, bounds, values: relative(values), policy, sweeps }
    }
    // Only differences matter: left alone, the values would grow by the average cost with every sweep.
    const shift = values[chain.timed[0]]
    for (const state of chain.timed) values[state] -= shift
  }
  throw new EdgewiseError('E_NOT_CONVERGED', `value iteration: not done after ${maxSweeps} sweeps`)
}

/** Values and best actions of the instants, from the values of the states they lead to. */
function decide(chain: Compiled, values: Float64Array, policy: Int32Array): void {
  const { instants, choiceStart, choiceNext, choiceCost, choiceAction } = chain
  for (let i = 0; i < instants.length; i++) {
    let best = choiceStart[i]
    let least = Infinity
    for (let c = choiceStart[i]; c < choiceStart[i + 1]; c++) {
      const value = choiceCost[c] + values[choiceNext[c]]
      if (value < least) {
        least = value
        best = c
      }
    }
    values[instants[i]] = least
    policy[instants[i]] = choiceAction[best]
  }
}

/** One uniformised step: next = T values where time passes. Returns the least and the largest change. */
function step(chain: Compiled, values: Float64Array, next: Float64Array): [number, number] {
  const { timed, stepCost, eventStart, eventNext, eventProbability } = chain
  let least = Infinity
  let most = -Infinity
  for (let i = 0; i < timed.length; i++) {
    const own = values[timed[i]]
    let change = stepCost[i]
    for (let e = eventStart[i]; e < eventStart[i + 1]; e++) {
      change += eventProbability[e] * (values[eventNext[e]] - own)
    }
    next[i] = own + change
    if (change < least) least = change
    if (change > most) most = change
  }
  return [least, most]
}

function relative(values: Float64Array): Float64Array {
  return values.map((value) => value - values[0])
}
