import { parseAddress } from '../../core/address.ts'
import { readTlsMaterial } from '../../core/trust/material.ts'
import type { ApiListenOptions } from '../../serve/edge/create.ts'
import { readApiKeys } from '../../serve/http/keys.ts'
import type { Io } from '../io.ts'
import type { ServeFlags } from './options.ts'

/** Where the API listens and who may use it. Throws InputError for what cannot be read. */
export function apiAccess({ listen, apiKeys, apiTls }: ServeFlags, { clock }: Io): ApiListenOptions {
  return {
    ...parseAddress('--listen', listen!),
    keys: apiKeys === undefined ? null : readApiKeys(apiKeys),
    ...(apiTls === undefined ? {} : { tls: readTlsMaterial(apiTls, clock) }),
  }
}
