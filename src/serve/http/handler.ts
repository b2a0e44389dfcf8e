import type { IncomingMessage } from 'node:http'
import { modelObject } from './responseFormat.ts'
import { unknownModel } from './parseCompletion.ts'
import { complete } from './completions.ts'
import type { ApiState } from './apiState.ts'
import { ApiError } from './errors.ts'
import type { HttpExchange } from './httpExchange.ts'
import { checkHostHeader } from './hosts.ts'
import { ANONYMOUS } from './keys.ts'
import { checkMethod } from './routes.ts'

/** Answers one request; whatever goes wrong, it is answered. */
export async function handle(api: ApiState, exchange: HttpExchange): Promise<void> {
  try {
    await answer(api, exchange)
  } catch (error) {
    exchange.fail(error)
  }
}

async function answer(api: ApiState, exchange: HttpExchange): Promise<void> {
  const { match, request, writer } = exchange
  checkMethod(match, request.method ?? '', request.url ?? '')
  if (match.route === '/healthz') {
    writer.json(200, { status: 'ok' })
    return
  }
  if (match.route === '/readyz') {
    const { ready, reason } = api.readiness
    writer.json(ready ? 200 : 503, { ready, reason })
    return
  }
  const principal = authenticate(api, request)
  exchange.principal = principal
  const { model } = api.options.backend
  switch (match.route) {
    case '/v1/chat/completions':
      return complete(api, exchange, 'chat', principal)
    case '/v1/completions':
      return complete(api, exchange, 'text', principal)
    case '/v1/models':
      writer.json(200, { object: 'list', data: [modelObject(model)] })
      return
    case '/v1/models/{id}':
      if (match.id !== model.id) throw unknownModel(match.id ?? '')
      writer.json(200, modelObject(model))
      return
    default: {
      const { registry } = api.options
      writer.text(200, await registry.metrics(), { 'content-type': registry.contentType })
    }
  }
}

/** Whose request this is. Throws ApiError (401, 403). */
function authenticate({ options }: ApiState, { headers }: IncomingMessage): string {
  const { keys, host } = options
  if (keys === null || keys.size === 0) {
    checkHostHeader(headers.host, host)
    return ANONYMOUS
  }
  const key = /^bearer +([\x21-\x7e]{1,512})$/i.exec(headers.authorization ?? '')?.[1]
  const principal = key === undefined ? null : keys.find(key)
  if (principal !== null) return principal
  throw new ApiError({
    status: 401,
    type: 'authentication_error',
    code: 'invalid_api_key',
    message:
      key === undefined
        ? 'No API key was given: send `Authorization: Bearer <key>`.'
        : 'The API key that was given is not one of this server.',
    headers: { 'www-authenticate': 'Bearer' },
  })
}
