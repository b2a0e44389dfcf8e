import type { Clock } from '../../core/clock.ts'
import type { ResolvedPlan } from '../../run/executor/messages.ts'
import type { BudgetUses } from '../../plan/price/budgets.ts'
import { formatSeconds, formatShare } from '../../report/numbers.ts'
import { paint } from '../../report/table.ts'
import { planText } from '../../serve/edge/planWords.ts'
import { budgetShares } from '../../serve/edge/metrics.ts'
import { isTransition, type ServiceEvent } from '../../serve/edge/types.ts'
import type { Io } from '../io.ts'
import { eventText } from './eventText.ts'

const KEPT_LINES = 12
const DRAW_MILLISECONDS = 250

/** What the panel shows of the link and the queue. */
interface WatchSource {
  /** A state of null: there is no cloud. */
  readonly link: () => { readonly state: string | null; readonly rttSeconds: number | null }
  readonly budgetUses?: () => BudgetUses | null
  readonly queue: () => { readonly waiting: number; readonly inFlight: number }
  /** Heads (or K/V groups) of a layer. */
  readonly units: number
}

interface Row {
  placed: ResolvedPlan
  tokens: number
}

/** A view of the service: redrawn in place on a terminal, a line for each transition elsewhere. */
export function watchService(io: Io, watched: WatchSource): (event: ServiceEvent) => void {
  return io.isTerminal ? panel(io, watched) : lines(io, watched.units)
}

function lines(io: Io, units: number): (event: ServiceEvent) => void {
  return (event) => {
    const words = isTransition(event) ? eventText(event, units) : null
    if (words !== null) io.stdout.write(`${words}\n`)
  }
}

function panel(io: Io, watched: WatchSource): (event: ServiceEvent) => void {
  const rows = new Map<number, Row>()
  const recent: string[] = []
  const counts = new Map<string, number>()
  let drawn = 0
  const draw = (): void => {
    const text = screen(io, watched, rows, recent, counts)
    io.stdout.write(`${drawn > 0 ? `\x1b[${drawn}A\x1b[J` : ''}${text.join('\n')}\n`)
    drawn = text.length
  }
  const timer = setInterval(draw, DRAW_MILLISECONDS)
  timer.unref()
  io.onExit(() => clearInterval(timer))
  return (event) => {
    follow(rows, event)
    if (!isTransition(event)) return
    counts.set(event.kind, (counts.get(event.kind) ?? 0) + 1)
    const words = eventText(event, watched.units)
    if (words !== null) recent.push(`${stamp(io.clock)} ${words}`)
    if (recent.length > KEPT_LINES) recent.shift()
  }
}

function follow(rows: Map<number, Row>, event: ServiceEvent): void {
  if (event.kind === 'decision') {
    const row = rows.get(event.request)
    if (row === undefined) rows.set(event.request, { placed: event.placed, tokens: 0 })
    else row.placed = event.placed
  } else if (event.kind === 'token') {
    const row = rows.get(event.request)
    if (row !== undefined) row.tokens = event.tokens
  } else if (event.kind === 'request-ended') rows.delete(event.request)
}

function screen(
  io: Io,
  watched: WatchSource,
  rows: ReadonlyMap<number, Row>,
  recent: readonly string[],
  counts: ReadonlyMap<string, number>,
): string[] {
  const { state, rttSeconds } = watched.link()
  const { waiting, inFlight } = watched.queue()
  // A line that wraps would be drawn over by halves.
  const clip = (text: string): string => text.slice(0, (io.columns?.() ?? 80) - 1)
  const rtt = rttSeconds === null ? '' : `, RTT ${formatSeconds(rttSeconds)}`
  const cloud = state === null ? 'no cloud' : `cloud ${state}`
  const colour = state === null ? 'dim' : state === 'up' ? 'green' : 'red'
  const out = [paint(clip(`${cloud}${rtt}; ${inFlight} in flight, ${waiting} waiting`), colour, io)]
  const shares = budgetShares(watched.budgetUses?.() ?? null)
  if (shares.length > 0) {
    const used = shares.map(([name, share]) => `${name} ${formatShare(share)}`).join(', ')
    out.push(paint(clip(`of budget (modelled): ${used}`), 'dim', io))
  }
  for (const [request, { placed, tokens }] of rows) {
    const words = planText(placed, watched.units)
    out.push(clip(`  request ${request}: ${String(tokens).padStart(5)} tokens on ${words}`))
  }
  out.push(...recent.map((line) => paint(clip(line), 'dim', io)))
  const totals = [...counts].map(([kind, count]) => `${kind} ${count}`)
  out.push(paint(clip(totals.join(', ')), 'dim', io))
  return out
}

function stamp(clock: Clock): string {
  return clock.wallTime().slice(11, 19)
}
