import { Counter, Gauge, Histogram, type Registry } from 'prom-client'
import type { BudgetUses } from '../../plan/price/budgets.ts'
import { isTransition, type ServiceEvent } from './types.ts'

/** Use over budget by resource, of the budgets that there are; 1: all of it. */
export function budgetShares(uses: BudgetUses | null): [resource: string, share: number][] {
  const named = [
    ['energy', uses?.energyJoules ?? null],
    ['accuracy', uses?.accuracyLoss ?? null],
    ['cloud', uses?.cloudSeconds ?? null],
  ] as const
  return named.flatMap(([name, use]) => (use === null ? [] : [[name, use.used / use.budget]]))
}

/** What the metrics read when they are asked for. */
interface Gauges {
  readonly queue: () => { readonly waiting: number; readonly inFlight: number }
  /** Null without a cloud. */
  readonly linkUp: () => boolean | null
  readonly rttSeconds: () => number | null
  readonly keptBytes: () => number
  readonly residentBytes: () => number
  readonly dropped: () => number
  /** Null where nothing was used of a budget yet, or there is none. */
  readonly budgetUses: () => BudgetUses | null
}

/** Seconds; a decision takes tens of microseconds. */
const DECIDE_BUCKETS = [1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.02]

/** Registers the service's metrics; returns what must hear its events. Labels are words of ours alone. */
export function serviceMetrics(registry: Registry, gauges: Gauges): (event: ServiceEvent) => void {
  const registers = [registry]
  const gauge = (name: string, help: string, read: () => number | null): void => {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        const value = read()
        if (value === null) this.remove()
        else this.set(value)
      },
    })
  }
  gauge('edgewise_queue_waiting', 'Requests that wait for their turn', () => gauges.queue().waiting)
  gauge('edgewise_queue_in_flight', 'Requests that are carried out', () => gauges.queue().inFlight)
  gauge('edgewise_link_up', '1 while the cloud is connected', () => {
    const up = gauges.linkUp()
    return up === null ? null : Number(up)
  })
  gauge('edgewise_link_rtt_seconds', 'Round trip of the last heartbeat', gauges.rttSeconds)
  gauge('edgewise_checkpoint_bytes', 'Boundary tensors kept for requests in flight', gauges.keptBytes)
  gauge('edgewise_resident_bytes', 'Weights in memory', gauges.residentBytes)
  gauge('edgewise_log_dropped_records', 'Log records that could not be written', gauges.dropped)
  new Gauge({
    name: 'edgewise_budget_used_ratio',
    help: "Mean modelled use a request over the bundle's budget",
    labelNames: ['resource'],
    registers,
    collect() {
      this.reset()
      for (const [resource, share] of budgetShares(gauges.budgetUses())) this.set({ resource }, share)
    },
  })
  const counter = <Label extends string>(name: string, help: string, labelNames: Label[]): Counter<Label> =>
    new Counter({ name, help, labelNames, registers })
  const decisions = counter('edgewise_decisions_total', 'Plans decided', ['source', 'reason'])
  const recoveries = counter(
    'edgewise_recoveries_total',
    'Requests whose keys and values were built anew, by how',
    ['rebuild'],
  )
  const events = counter('edgewise_events_total', 'Transitions', ['kind'])
  const ended = counter('edgewise_requests_ended_total', 'Requests by how they ended', ['end'])
  const decide = new Histogram({
    name: 'edgewise_decide_seconds',
    help: 'Time of one decision',
    buckets: DECIDE_BUCKETS,
    registers,
  })
  return (event) => {
    if (!isTransition(event)) return
    events.inc({ kind: event.kind })
    if (event.kind === 'decision') {
      decisions.inc({ source: event.source, reason: event.reason })
      decide.observe(event.decideSeconds)
    } else if (event.kind === 'request-resumed' || event.kind === 'request-switched') {
      recoveries.inc({ rebuild: event.rebuild })
    } else if (event.kind === 'request-ended') ended.inc({ end: event.end })
  }
}
