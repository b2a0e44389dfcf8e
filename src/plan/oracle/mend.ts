import { choicePathOf, type Layers, type ChoicePath } from './relax.ts'
import type { Problem } from './solve.ts'

/** Rounds of single changes. */
const ROUNDS = 8

/**
 * Constructs a good path that fits into memory from one that is too large and one that fits: the first up to some layer
 * and then the second, followed by the best single changes of choices. It is no worse than `fitting`.
 */
export function mend(problem: Problem, layers: Layers, large: ChoicePath, fitting: ChoicePath): ChoicePath {
  let best = fitting
  for (const [first, second] of [
    [large, fitting],
    [fitting, large],
  ] as const) {
    const joined = bestJoint(problem, layers, first, second, best.value)
    if (joined !== null) best = joined
  }
  for (let round = 0; round < ROUNDS; round++) {
    const changed = bestChange(problem, layers, best)
    if (changed === null) return best
    best = changed
  }
  return best
}

/** `first` up to some layer, then `second`: the best one that fits and has a value below `bar`. */
function bestJoint(
  problem: Problem,
  layers: Layers,
  first: ChoicePath,
  second: ChoicePath,
  bar: number,
): ChoicePath | null {
  const difference = { cost: second.cost, time: second.time, bytes: second.bytes }
  let at = -1
  let least = bar
  for (let layer = 0; layer < first.choices.length; layer++) {
    if (first.sides[layer] === second.sides[layer]) {
      const value = difference.cost + problem.penalty(difference.time)
      if (difference.bytes <= problem.memoryBytes && value < least) {
        least = value
        at = layer
      }
    }
    const kind = layers.kinds[layers.kindOf[layer]]
    const [a, b] = [first.choices[layer], second.choices[layer]]
    const [from, to] = [first.sides[layer], second.sides[layer]]
    difference.cost += kind.cost[from][a] - kind.cost[to][b]
    difference.time += kind.time[from][a] - kind.time[to][b]
    difference.bytes += kind.bytes[from][a] - kind.bytes[to][b]
  }
  if (at < 0) return null
  const { choices, sides } = layers.pool.takeSteps()
  choices.set(second.choices)
  sides.set(second.sides)
  for (let layer = 0; layer < at; layer++) {
    choices[layer] = first.choices[layer]
    sides[layer] = first.sides[layer]
  }
  return checked(problem, choicePathOf(problem, layers, choices, sides), bar)
}

/** The single change of one layer's choice that improves a path most; null if none does. */
function bestChange(problem: Problem, layers: Layers, path: ChoicePath): ChoicePath | null {
  let least = path.value
  let [atLayer, atChoice] = [-1, -1]
  const spare = problem.memoryBytes - path.bytes
  for (let layer = 0; layer < path.choices.length; layer++) {
    const side = path.sides[layer]
    const kind = layers.kinds[layers.kindOf[layer]]
    const [cost, time, bytes, next] = [kind.cost[side], kind.time[side], kind.bytes[side], kind.next[side]]
    const now = path.choices[layer]
    for (let i = 0; i < cost.length; i++) {
      if (next[i] !== next[now] || bytes[i] - bytes[now] > spare) continue
      // The penalty is never negative, so most choices are too expensive without computing it.
      const dearer = path.cost - cost[now] + cost[i]
      if (dearer >= least) continue
      const value = dearer + problem.penalty(path.time - time[now] + time[i])
      if (value < least) {
        least = value
        atLayer = layer
        atChoice = i
      }
    }
  }
  if (atLayer < 0) return null
  const { choices } = layers.pool.takeSteps()
  choices.set(path.choices)
  choices[atLayer] = atChoice
  return checked(problem, choicePathOf(problem, layers, choices, path.sides), path.value)
}

/** Differences round differently from sums, so the sum is computed again. */
function checked(problem: Problem, path: ChoicePath, bar: number): ChoicePath | null {
  return path.bytes <= problem.memoryBytes && path.value < bar ? path : null
}
