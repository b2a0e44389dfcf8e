import type { CompletionRequest } from '../http/types.ts'
import type { PlanSwitch } from '../../run/executor/recoveryTypes.ts'
import { resolvedPlanToJson } from '../../run/executor/messages.ts'
import type { JournalRequest, RequestJournal } from '../../core/journal/requests.ts'
import type { ModelSpec } from '../../model/spec.ts'

/** What is known of a request that was asked for before. */
interface StoredRequest {
  readonly tokens: readonly number[]
  readonly finish: 'stop' | 'length' | null
  matches(request: CompletionRequest): boolean
}

/** Requests by their keys, so that a process that is killed loses nothing of them. */
export class RequestStore {
  private readonly journal: RequestJournal
  private readonly model: ModelSpec
  private readonly fingerprint: string
  /** The journal's numbers by ours. */
  private readonly numbers = new Map<number, number>()

  constructor(journal: RequestJournal, model: ModelSpec, fingerprint: string) {
    this.journal = journal
    this.model = model
    this.fingerprint = fingerprint
  }

  find(principal: string, key: string): StoredRequest | null {
    const known = this.journal.find(principal, key)
    if (known === null) return null
    const { tokens, finish } = known
    return {
      tokens,
      finish: finish === 'stop' || finish === 'length' ? finish : null,
      matches: (request) => known.matches(this.recordOf(request)),
    }
  }

  /** Goes on with one that an earlier process began, where there is one. */
  begin(request: number, asked: CompletionRequest): void {
    const known = this.journal.find(asked.principal, asked.key!)
    const number =
      known === null || known.finish !== null ? this.journal.begin(this.recordOf(asked)) : known.request
    this.numbers.set(request, number)
  }

  /** Token `index` of the answer. */
  token(request: number, index: number, id: number): void {
    const number = this.numbers.get(request)
    if (number !== undefined) this.journal.token(number, index, id)
  }

  switched(request: number, entry: PlanSwitch): void {
    const number = this.numbers.get(request)
    if (number === undefined) return
    const { fromToken, rebuild } = entry
    this.journal.switched(number, { fromToken, rebuild, plan: resolvedPlanToJson(this.model, entry) })
  }

  /** Null: it did not come to its end; asked for again, it goes on. */
  end(request: number, finish: 'stop' | 'length' | null): void {
    const number = this.numbers.get(request)
    this.numbers.delete(request)
    if (number !== undefined && finish !== null) this.journal.end(number, finish)
  }

  private recordOf({ key, principal, prompt, maxNewTokens, sampling }: CompletionRequest): JournalRequest {
    const { temperature, topK, topP, seed } = sampling
    return {
      key,
      principal,
      prompt,
      maxNewTokens,
      fingerprint: this.fingerprint,
      sampling: { temperature, topK, topP, seed },
    }
  }
}
