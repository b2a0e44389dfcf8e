import type { HeaderRecord, LogRecord } from '../../core/journal/types.ts'
import { UseTally, type ConstraintBudgets } from '../../plan/price/budgets.ts'

/** Mean use of one resource a request, as a log tells it. */
interface LoggedResourceUse {
  /** Null where no request's was measured. */
  readonly used: number | null
  /** Null where there is none. */
  readonly budget: number | null
  /** Requests whose use was measured. */
  readonly requests: number
}

/** Use against budgets by resource, all of it modelled from what was measured; energy without the idle device's share. */
export type LoggedUse = { readonly [K in keyof ConstraintBudgets]: LoggedResourceUse } & {
  /** The start from which on these budgets have held, ISO 8601; only requests that ended since then count. */
  readonly sinceStartedAt: string
  /** Requests that ended since then, measured or not. */
  readonly ended: number
}

/**
 * Joins the outcomes of a decision log with the budgets in its headers. Where a device was started with other budgets,
 * it counts from there on: use is held against the budgets that the plans were decided for.
 */
export class LoggedUseTally {
  private header: HeaderRecord | null = null
  private use = new UseTally()
  private ended = 0

  add(record: LogRecord): void {
    if (record.kind === 'header') {
      if (this.header === null || !sameBudgets(this.header.budgets, record.budgets)) this.begin(record)
    } else if (record.kind === 'outcome') {
      const { energyJoules = null, accuracyLoss = null, cloudSeconds = null } = record
      this.use.add({ energyJoules, accuracyLoss, cloudSeconds })
      this.ended++
    }
  }

  private begin(header: HeaderRecord): void {
    this.header = header
    this.use = new UseTally()
    this.ended = 0
  }

  /** Null where the log says nothing of budgets, as in its version 1. */
  summary(): LoggedUse | null {
    const { header, use, ended } = this
    const budgets = header?.budgets
    if (header === null || budgets === undefined) return null
    const of = (resource: keyof ConstraintBudgets): LoggedResourceUse => ({
      used: use.mean(resource),
      budget: budgets[resource],
      requests: use.count(resource),
    })
    return {
      sinceStartedAt: header.startedAt,
      ended,
      energyJoules: of('energyJoules'),
      accuracyLoss: of('accuracyLoss'),
      cloudSeconds: of('cloudSeconds'),
    }
  }
}

function sameBudgets(a: ConstraintBudgets | undefined, b: ConstraintBudgets | undefined): boolean {
  return (
    a?.energyJoules === b?.energyJoules &&
    a?.accuracyLoss === b?.accuracyLoss &&
    a?.cloudSeconds === b?.cloudSeconds
  )
}
