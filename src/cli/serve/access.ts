import { readApiKeys, type ApiKeys } from '../../serve/http/keys.ts'
import { readTlsMaterial } from '../../core/trust/material.ts'
import type { Io } from '../io.ts'
import { parseAddress } from '../split/address.ts'
import type { ServeOptions } from './options.ts'

/** Where the API listens and who may use it. */
export interface ApiAccess {
  readonly host: string
  readonly port: number
  readonly keys: ApiKeys | null
  readonly tls?: { readonly key: string; readonly cert: string }
}

/** Throws InputError for what cannot be read. */
export function apiAccess({ listen, apiKeys, apiTls }: ServeOptions, { clock }: Io): ApiAccess {
  return {
    ...parseAddress('--listen', listen!),
    keys: apiKeys === undefined ? null : readApiKeys(apiKeys),
    ...(apiTls === undefined ? {} : { tls: readTlsMaterial(apiTls, clock) }),
  }
}
