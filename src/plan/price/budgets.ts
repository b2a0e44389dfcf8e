import type { Prices } from './question.ts'

/**
 * What a request may take on average over time; null where nothing is limited. Energy is the marginal energy of
 * docs/model.md (22), without the idle device's power.
 */
export interface ConstraintBudgets {
  readonly energyJoules: number | null
  readonly accuracyLoss: number | null
  readonly cloudSeconds: number | null
}

/** No budgets. */
export const NO_BUDGETS: ConstraintBudgets = { energyJoules: null, accuracyLoss: null, cloudSeconds: null }

/** What one request took of each budgeted resource, in the budgets' units. */
type BudgetedUse = { readonly [K in keyof ConstraintBudgets]: number }

/** BudgetedUse as a device tells it; null where something that it consists of was not measured. */
export type MeasuredUse = { readonly [K in keyof ConstraintBudgets]: number | null }

/** Mean use of one budgeted resource a request, against its budget, both in the budget's unit. */
interface BudgetUse {
  readonly used: number
  readonly budget: number
}

/** By budget; null where there is none, or nothing was measured. Energy is marginal: without the idle device's share. */
export type BudgetUses = { readonly [K in keyof ConstraintBudgets]: BudgetUse | null }

/** By how much past requests overran each budget, in budgets of one request; 0 where there is no budget. */
export interface VirtualQueues {
  readonly energy: number
  readonly accuracy: number
  readonly money: number
}

/** Virtual queues without any overrun. */
export const EMPTY_VIRTUAL_QUEUES: VirtualQueues = { energy: 0, accuracy: 0, money: 0 }

/** Whether any resource has a budget. */
export function hasBudgets(budgets: ConstraintBudgets): boolean {
  return budgets.energyJoules !== null || budgets.accuracyLoss !== null || budgets.cloudSeconds !== null
}

/** The virtual queues after one more request, docs/model.md (42): Z' = max(0, Z + used / budget - 1). */
export function nextVirtualQueues(
  queues: VirtualQueues,
  budgets: ConstraintBudgets,
  used: BudgetedUse,
): VirtualQueues {
  return {
    energy: nextQueue(queues.energy, used.energyJoules, budgets.energyJoules),
    accuracy: nextQueue(queues.accuracy, used.accuracyLoss, budgets.accuracyLoss),
    money: nextQueue(queues.money, used.cloudSeconds, budgets.cloudSeconds),
  }
}

/** Sums what requests used: the one source of means against budgets, in training, on a device and from its log. */
export class UseTally {
  private readonly sums = { energyJoules: 0, accuracyLoss: 0, cloudSeconds: 0 }
  /** Requests whose use was measured, by resource. */
  private readonly counts = { energyJoules: 0, accuracyLoss: 0, cloudSeconds: 0 }

  add(used: MeasuredUse): void {
    this.addOne('energyJoules', used.energyJoules)
    this.addOne('accuracyLoss', used.accuracyLoss)
    this.addOne('cloudSeconds', used.cloudSeconds)
  }

  private addOne(resource: keyof ConstraintBudgets, used: number | null): void {
    if (used === null) return
    this.sums[resource] += used
    this.counts[resource]++
  }

  /** Requests whose use of the resource was measured. */
  count(resource: keyof ConstraintBudgets): number {
    return this.counts[resource]
  }

  /** Mean use a request; null where it was measured of none. */
  mean(resource: keyof ConstraintBudgets): number | null {
    const { sums, counts } = this
    return counts[resource] === 0 ? null : sums[resource] / counts[resource]
  }

  against(budgets: ConstraintBudgets): BudgetUses {
    const use = (resource: keyof ConstraintBudgets): BudgetUse | null => {
      const [used, budget] = [this.mean(resource), budgets[resource]]
      return used === null || budget === null ? null : { used, budget }
    }
    return {
      energyJoules: use('energyJoules'),
      accuracyLoss: use('accuracyLoss'),
      cloudSeconds: use('cloudSeconds'),
    }
  }
}

function nextQueue(queue: number, used: number, budget: number | null): number {
  return budget === null ? 0 : Math.max(0, queue + used / budget - 1)
}

/**
 * The terms of the virtual queues in docs/model.md (60), as prices beside V times the cost: sum of Z y / V with the use
 * y in budgets. A queue of one budget makes a request that takes one budget dearer by 1 / V of cost, as one second of
 * backlog makes a request that takes one second of that side dearer.
 */
export function virtualQueuePrices(
  budgets: ConstraintBudgets,
  queues: VirtualQueues,
  v: number,
): Pick<Prices, 'edgeJoule' | 'accuracyNat' | 'cloudSecond'> {
  const price = (queue: number, budget: number | null): number => (budget === null ? 0 : queue / budget / v)
  return {
    edgeJoule: price(queues.energy, budgets.energyJoules),
    accuracyNat: price(queues.accuracy, budgets.accuracyLoss),
    cloudSecond: price(queues.money, budgets.cloudSeconds),
  }
}
