import { FRESH, NODES, type Kind, type Layers, type Relaxation } from './relax.ts'
import type { LayerTransition, SearchBudget, Path, Problem } from './solve.ts'
import type { Labels } from './workspace.ts'

/** Labels by node. */
type Front = [number[], number[], number[]]

interface Search {
  readonly problem: Problem
  readonly labels: Labels
  readonly relaxations: readonly Relaxation[]
  readonly bar: number
  readonly effort: SearchBudget
}

/** Number of relaxations evaluated for each label: each can prune it, and each costs time. */
const USEFUL = 6

/** Relative rounding error of a time. */
const ROUNDING = 1e-14

/** Choices of one kind from one side to another, sorted by the strongest relaxation, with their values there. */
interface Ranked {
  readonly order: Int32Array
  readonly values: Float64Array
}

/**
 * Label setting, layer by layer; `labels` must be empty. Returns a path better than `bar`; null if there is none or the
 * effort is used up.
 */
export function searchLabels(
  problem: Problem,
  layers: Layers,
  relaxations: readonly Relaxation[],
  bar: number,
  effort: SearchBudget,
  labels: Labels,
): Path | null {
  const useful = [...relaxations].sort((a, b) => b.bound - a.bound).slice(0, USEFUL)
  const ranked = layers.kinds.map((kind) => rank(kind, useful[0]))
  let front: Front = [[], [], [firstLabel(problem, labels)]]
  const search: Search = { problem, labels, relaxations: useful, bar, effort }
  for (let layer = 0; layer < layers.kindOf.length; layer++) {
    const next: Front = [[], [], []]
    const kind = layers.kindOf[layer]
    for (const node of [0, 1, FRESH] as const) {
      for (const label of front[node]) {
        extend(search, layers.kinds[kind], ranked[kind], layer, node, label, next)
        if (effort.left < 0) return null
      }
    }
    front = [undominated(next[0], labels), undominated(next[1], labels), undominated(next[FRESH], labels)]
  }
  return bestEnd(search, layers, front)
}

function firstLabel({ start }: Problem, labels: Labels): number {
  const first = labels.take()
  labels.cost[first] = start.cost
  labels.time[first] = start.time
  labels.bytes[first] = start.bytes
  labels.before[first] = -1
  return first
}

function bestEnd({ problem, labels, relaxations, bar }: Search, layers: Layers, front: Front): Path | null {
  let best = -1
  let least = bar
  for (const node of relaxations[0].group === 'leave' ? ([0, 1] as const) : ([0, 1, FRESH] as const)) {
    const last = problem.end[node === FRESH ? problem.startSide : node]
    for (const label of front[node]) {
      const value = labels.cost[label] + last.cost + problem.penalty(labels.time[label] + last.time)
      if (value < least && labels.bytes[label] + last.bytes <= problem.memoryBytes) {
        least = value
        best = label
      }
    }
  }
  return best < 0 ? null : { value: least, edges: trail(layers, labels, best) }
}

/** Index 2 side before + side after. */
function rank(kind: Kind, { slope, price }: Relaxation): Ranked[] {
  return [0, 1, 2, 3].map((way) => {
    const [side, next] = [way >> 1, way & 1]
    const [cost, time, bytes] = [kind.cost[side], kind.time[side], kind.bytes[side]]
    const weight = (i: number): number => cost[i] + slope * time[i] + price * bytes[i]
    const indices: number[] = []
    for (let i = 0; i < cost.length; i++) if (kind.next[side][i] === next) indices.push(i)
    const order = Int32Array.from(indices.sort((a, b) => weight(a) - weight(b)))
    return { order, values: Float64Array.from(order, weight) }
  })
}

function extend(
  { problem, labels, relaxations, bar, effort }: Search,
  kind: Kind,
  ranked: readonly Ranked[],
  layer: number,
  node: 0 | 1 | 2,
  label: number,
  next: Front,
): void {
  const side = node === FRESH ? problem.startSide : node
  for (const to of [0, 1] as const) {
    const isFresh = node === FRESH && to === side
    if (node === FRESH && !isFresh && relaxations[0].group === 'stay') continue
    const reached = isFresh ? FRESH : to
    const at = NODES * (layer + 1) + reached
    const { order, values } = ranked[2 * side + to]
    const [baseCost, baseTime, baseBytes] = [labels.cost[label], labels.time[label], labels.bytes[label]]
    const base = boundAt(problem, relaxations[0], at, baseCost, baseTime, baseBytes)
    for (let i = 0; i < order.length; i++) {
      effort.left--
      if (base + values[i] >= bar) break
      const choice = order[i]
      const bytes = baseBytes + kind.bytes[side][choice]
      if (bytes > problem.memoryBytes) continue
      const cost = baseCost + kind.cost[side][choice]
      const time = baseTime + kind.time[side][choice]
      if (hopeless(problem, relaxations, at, cost, time, bytes, bar)) continue
      const made = labels.take()
      labels.cost[made] = cost
      labels.time[made] = time
      labels.bytes[made] = bytes
      labels.before[made] = label
      labels.step[made] = 2 * choice + side
      next[reached].push(made)
    }
  }
}

function hopeless(
  problem: Problem,
  relaxations: readonly Relaxation[],
  node: number,
  cost: number,
  time: number,
  bytes: number,
  bar: number,
): boolean {
  for (let i = 1; i < relaxations.length; i++) {
    if (boundAt(problem, relaxations[i], node, cost, time, bytes) >= bar) return true
  }
  return false
}

function boundAt(
  problem: Problem,
  { slope, price, intercept, toGo }: Relaxation,
  node: number,
  cost: number,
  time: number,
  bytes: number,
): number {
  const limit = price === 0 ? 0 : price * (bytes - problem.memoryBytes)
  return cost + slope * time + limit + toGo[node] + intercept
}

/**
 * Labels that no other label equals or beats in cost, time and bytes. The same choices in another order give other
 * rounding errors, so times within rounding count as equal.
 */
function undominated(front: number[], { cost, time, bytes, stairTime, stairBytes }: Labels): number[] {
  front.sort((a, b) => cost[a] - cost[b] || time[a] - time[b] || bytes[a] - bytes[b])
  let kept = 0
  let stairs = 0
  for (const label of front) {
    const [seconds, space] = [time[label], bytes[label]]
    let at = upperBound(stairTime, stairs, seconds + ROUNDING * Math.abs(seconds))
    if (at > 0 && stairBytes[at - 1] <= space) continue
    front[kept++] = label
    at = upperBound(stairTime, stairs, seconds)
    let until = at
    while (until < stairs && stairBytes[until] >= space) until++
    if (until !== at + 1) {
      stairTime.copyWithin(at + 1, until, stairs)
      stairBytes.copyWithin(at + 1, until, stairs)
      stairs += at + 1 - until
    }
    stairTime[at] = seconds
    stairBytes[at] = space
  }
  front.length = kept
  return front
}

/** How many of the first `count` of ascending `values` are at most `limit`. */
function upperBound(values: Float64Array, count: number, limit: number): number {
  let [low, high] = [0, count]
  while (low < high) {
    const middle = (low + high) >> 1
    if (values[middle] <= limit) low = middle + 1
    else high = middle
  }
  return low
}

function trail({ kinds, kindOf }: Layers, labels: Labels, last: number): LayerTransition[] {
  const edges = new Array<LayerTransition>(kindOf.length)
  for (let layer = kindOf.length - 1, at = last; layer >= 0; layer--, at = labels.before[at]) {
    const step = labels.step[at]
    edges[layer] = kinds[kindOf[layer]].edges[(step & 1) as 0 | 1][step >> 1]
  }
  return edges
}
