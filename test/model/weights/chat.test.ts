import fc from 'fast-check'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { InputError } from '../../../src/core/errors.ts'
import { openChat } from '../../../src/model/tokenizers/chat.ts'
import { chatTemplate, PLAIN_CHAT } from '../../../src/model/tokenizers/chat.ts'
import { openPretrained } from '../../../src/model/weights/open.ts'
import type { ChatMessage } from '../../../src/model/tokenizers/types.ts'
import { openTokenizer } from '../../../src/model/tokenizers/tokenizer.ts'
import { llamaTokenizer } from './tokenizers.ts'

/** As in tokenizer_config.json of meta-llama/Llama-2-7b-chat-hf. */
const LLAMA2 =
  "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
/** As in the documentation of transformers (chat templates). */
const CHATML =
  "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"

const system: ChatMessage = { role: 'system', content: 'Be brief.' }
const user: ChatMessage = { role: 'user', content: ' Hello? ' }
const assistant: ChatMessage = { role: 'assistant', content: 'Hi.' }

const folders: string[] = []
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true })
})

function folderWith(files: Readonly<Record<string, unknown>>): string {
  const folder = mkdtempSync(join(tmpdir(), 'edgewise-chat-'))
  folders.push(folder)
  for (const [name, content] of Object.entries(files)) {
    writeFileSync(join(folder, name), typeof content === 'string' ? content : JSON.stringify(content))
  }
  return folder
}

describe('a chat template', () => {
  it('renders as Llama 2 has it', () => {
    const chat = chatTemplate(LLAMA2, 'llama', { bos_token: '<s>', eos_token: '</s>' })
    expect(chat.render([system, user, assistant, { role: 'user', content: 'Bye' }])).toBe(
      '<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n Hello? [/INST] Hi. </s><s>[INST] Bye [/INST]',
    )
    expect(() => chat.render([user, user])).toThrow(/roles must alternate/)
  })

  it('renders as ChatML has it, up to where the assistant begins', () => {
    expect(chatTemplate(CHATML, 'chatml').render([system, user])).toBe(
      '<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hello? <|im_end|>\n<|im_start|>assistant\n',
    )
  })

  it('is no program of its messages: they stay text', () => {
    const content = fc.oneof(fc.string(), fc.constantFrom('{{ bos_token }}', '{% endfor %}', '{# #}'))
    fc.assert(
      fc.property(content, (text) => {
        const rendered = chatTemplate(CHATML, 'chatml').render([{ role: 'user', content: text }])
        expect(rendered).toBe(`<|im_start|>user\n${text}<|im_end|>\n<|im_start|>assistant\n`)
      }),
    )
  })

  it('knows no day: without strftime_now the template takes its default', () => {
    const text = '{% if strftime_now is defined %}{{ strftime_now("%Y") }}{% else %}never{% endif %}'
    expect(chatTemplate(text, 'dated').render([user])).toBe('never')
  })

  it.each([
    ['{% for a in range(1000000000) %}x{% endfor %}', /range/],
    ['{% for a in range(0, 5, 0) %}x{% endfor %}', /range/],
    [
      '{% for a in range(9999) %}{% for b in range(9999) %}{% set x = a %}{% endfor %}{% endfor %}',
      /more than 2 s/,
    ],
    [
      '{% set n = namespace(x="xxxxxxxx") %}{% for a in range(25) %}{% set n.x = n.x + n.x %}{% endfor %}{{ n.x }}',
      /longer than/,
    ],
    ['{{ messages[0].content.missing() }}', /chat template/],
  ])('cannot hold the server up: %s', (text, message) => {
    expect(() => chatTemplate(text, 'hostile').render([user])).toThrow(message)
  })

  it('reaches nothing outside itself', () => {
    const reach = '{{ messages.constructor }}|{{ process }}|{{ raise_exception.constructor }}'
    expect(chatTemplate(reach, 'reaching').render([user])).toBe('||')
  })

  it('is at most 256 KiB', () => {
    expect(() => chatTemplate('x'.repeat(256 * 1024 + 1), 'long')).toThrow(InputError)
  })
})

describe('the chat template of a folder', () => {
  const rendered = (files: Readonly<Record<string, unknown>>) => openChat(folderWith(files)).render([user])

  it('stands in tokenizer_config.json, with its tokens', () => {
    const chat_template = '{{ bos_token }}{{ messages[0].content }}{{ eos_token }}'
    const eos_token = { content: '</s>', lstrip: false }
    expect(rendered({ 'tokenizer_config.json': { chat_template, bos_token: '<s>', eos_token } })).toBe(
      '<s> Hello? </s>',
    )
  })

  it('is the one named default, or the file of its own', () => {
    const chat_template = [
      { name: 'tool_use', template: 'tools' },
      { name: 'default', template: 'plain' },
    ]
    expect(rendered({ 'tokenizer_config.json': { chat_template } })).toBe('plain')
    const config = { chat_template, bos_token: '<s>' }
    expect(rendered({ 'tokenizer_config.json': config, 'chat_template.jinja': 'own {{ bos_token }}' })).toBe(
      'own <s>',
    )
  })

  it('is absent: contents stand one a line, and the last one is continued', () => {
    const chat = openChat(folderWith({}))
    expect(chat).toBe(PLAIN_CHAT)
    expect(chat.render([{ role: 'user', content: 'Once there was ' }])).toBe('Once there was ')
    expect(chat.render([user, assistant, user])).toBe(' Hello? \nHi.\n Hello? ')
    expect(openChat(folderWith({ 'tokenizer_config.json': { bos_token: null } }))).toBe(PLAIN_CHAT)
  })

  it.each([
    [{ 'tokenizer_config.json': { chat_template: '{% for %}' } }, /Jinja template/],
    [{ 'tokenizer_config.json': { chat_template: 7 } }, /a template or a list/],
    [{ 'tokenizer_config.json': { chat_template: [{ name: 'rag', template: '' }] } }, /named default/],
    [{ 'tokenizer_config.json': '{' }, /JSON/],
    [{ 'chat_template.jinja': 'x'.repeat(256 * 1024 + 1) }, /262144 bytes/],
  ])('that cannot be used says so, and does not keep the model from being opened: %j', (files, problem) => {
    const chat = openChat(folderWith(files))
    expect(chat.problem).toMatch(problem)
    expect(() => chat.render([user])).toThrow(/can be used/)
  })

  it('never fails but with an InputError', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.string().map((s) => `{{ ${s} }}{% ${s} %}`),
        ),
        (text) => {
          try {
            expect(typeof chatTemplate(text, 'any').render([user])).toBe('string')
          } catch (error) {
            expect(error).toBeInstanceOf(InputError)
          }
        },
      ),
    )
  })
})

it('the built-in model has none', () => {
  const builtinFolder = resolve(import.meta.dirname, '../../../models')
  expect(openPretrained('tales', { builtinFolder }).chat).toBe(PLAIN_CHAT)
})

it('a rendered text is encoded bare: its beginning of text stands once', () => {
  const { json, vocabulary } = llamaTokenizer()
  const tokenizer = openTokenizer(folderWith({ 'tokenizer.json': json }), vocabulary, 1)!
  expect(tokenizer.encode('the').slice(0, 1)).toEqual([1])
  expect(tokenizer.encode('<s>the').filter((id) => id === 1)).toHaveLength(2)
  expect(tokenizer.encode('<s>the', true).filter((id) => id === 1)).toHaveLength(1)
  expect(tokenizer.encode('', true)).toEqual([])
})
