"""The sentence templates and word lists from which the corpus is composed."""

from __future__ import annotations

from typing import Any

# The lists stay readable when they are filled like text.
# fmt: off

REGIONS = {
    "africa": "Africa", "australia-oceania": "Oceania",
    "central-america-n-caribbean": "Central America and the Caribbean",
    "central-asia": "Central Asia", "east-n-southeast-asia": "East and Southeast Asia",
    "europe": "Europe", "middle-east": "the Middle East", "north-america": "North America",
    "south-america": "South America", "south-asia": "South Asia",
}
WITH_ARTICLE = {
    "Netherlands", "Philippines", "Maldives", "Seychelles", "Comoros", "Central African Republic",
    "Czech Republic", "Gambia", "Bahamas", "DRC",
}
FAMOUS = {
    "France", "Germany", "Italy", "Spain", "Japan", "China", "India", "Brazil", "Canada", "Mexico",
    "Australia", "Egypt", "Norway", "Sweden", "Finland", "Denmark", "Poland", "Greece", "Portugal",
    "Austria", "Switzerland", "Ireland", "Kenya", "Nigeria", "South Africa", "Argentina", "Chile",
    "Peru", "South Korea", "Thailand", "Vietnam", "Turkey", "Russia", "Ukraine", "Iceland",
    "Belgium", "Hungary", "Indonesia", "New Zealand", "Morocco", "the United States",
    "the United Kingdom", "the Netherlands", "the Czech Republic", "Colombia", "Israel", "Cuba",
}
CORRECTIONS: dict[str, dict[str, str]] = {
    "France": {"borders": "Belgium, Germany, Italy, Luxembourg, Spain and Switzerland"},
    "the United States": {
        "capital": "Washington, DC", "currency": "US dollar", "highest": "Denali",
        "climate": "mostly temperate, but tropical in Hawaii and arctic in Alaska",
        "languages": "English and Spanish",
    },
    "the United Kingdom": {"currency": "British pound"},
}
# WordNet lexicographer files: animal, artifact, food, object, phenomenon, plant, substance, time.
WORDNET_FILES = {5, 6, 13, 17, 19, 20, 27, 28}
UNWANTED = (
    r"sex|slave|kill|weapon|gun\b|bomb|drug|nud|toilet|sewage|excre|brothel|whore|prostit|corps|"
    r"murder|explos|execut|slang|derog|vulgar|penis|genital|tortur|poison|addict|feces|urin"
)

COUNTRY_QA: dict[str, tuple[list[str], list[str]]] = {
    "capital": (
        ["what is the capital of {c}?", "what is the capital city of {c}?",
         "which city is the capital of {c}?", "name the capital of {c}.",
         "tell me the capital of {c}.", "what's the capital of {c}?", "capital of {c}?",
         "do you know the capital of {c}?"],
        ["the capital of {c} is {v}.", "the capital of {c} is {v}.", "{v} is the capital of {c}."],
    ),
    "population": (
        ["what is the population of {c}?", "how many people live in {c}?",
         "how big is the population of {c}?", "how many inhabitants does {c} have?"],
        ["about {v} people live in {c}.", "the population of {c} is about {v}."],
    ),
    "languages": (
        ["what languages are spoken in {c}?", "which language do people speak in {c}?",
         "what do people speak in {c}?", "what is the language of {c}?"],
        ["people in {c} speak {v}.", "the languages spoken in {c} include {v}."],
    ),
    "religion": (
        ["what religions are there in {c}?", "which religions are common in {c}?"],
        ["the main religions in {c} are {v}."],
    ),
    "borders": (
        ["which countries border {c}?", "what are the neighbors of {c}?",
         "what countries does {c} share a border with?"],
        ["{c} shares a border with {v}.", "the neighbors of {c} are {v}."],
    ),
    "climate": (
        ["what is the climate of {c} like?", "how is the climate in {c}?",
         "what is the weather like in {c}?", "describe the climate of {c}."],
        ["the climate of {c} is {v}.", "in {c} the climate is {v}."],
    ),
    "terrain": (
        ["what is the terrain of {c}?", "what does the land look like in {c}?",
         "describe the landscape of {c}."],
        ["the terrain of {c} is {v}.", "the land in {c} is {v}."],
    ),
    "location": (
        ["where is {c}?", "where is {c} located?", "in which part of the world is {c}?"],
        ["{c} is located in {v}.", "{c} lies in {v}."],
    ),
    "region": (["which continent is {c} in?"], ["{c} is in {r}."]),
    "area": (
        ["how large is {c}?", "what is the area of {c}?", "how big is {c}?"],
        ["{c} has an area of {v}.", "the area of {c} is {v}."],
    ),
    "resources": (
        ["what natural resources does {c} have?", "what are the natural resources of {c}?"],
        ["the natural resources of {c} include {v}.", "{c} has {v}."],
    ),
    "crops": (
        ["what is grown in {c}?", "what do farmers in {c} produce?",
         "what are the farm products of {c}?"],
        ["farmers in {c} produce {v}.", "the farm products of {c} include {v}."],
    ),
    "industries": (
        ["what are the main industries of {c}?", "which industries does {c} have?"],
        ["the main industries of {c} are {v}."],
    ),
    "exports": (
        ["what does {c} export?", "what are the main exports of {c}?"],
        ["{c} exports {v}.", "the main exports of {c} are {v}."],
    ),
    "government": (
        ["what kind of government does {c} have?", "how is {c} governed?"],
        ["the government of {c} is a {v}."],
    ),
    "adjective": (
        ["what do you call people from {c}?", "what is the nationality of people from {c}?"],
        ["people from {c} are {v}."],
    ),
    "currency": (
        ["what is the currency of {c}?", "what money do people use in {c}?",
         "which currency is used in {c}?"],
        ["the currency of {c} is {v}."],
    ),
    "highest": (
        ["what is the highest point of {c}?", "what is the highest mountain in {c}?"],
        ["the highest point of {c} is {v}."],
    ),
    "coast": (
        ["how long is the coast of {c}?", "how long is the coastline of {c}?"],
        ["the coast of {c} is {v} long."],
    ),
}
TELL_ME = [
    "tell me about {c}.", "what can you tell me about {c}?", "what do you know about {c}?",
    "give me some facts about {c}.", "describe {c}.", "write a short text about {c}.",
    "write a paragraph about {c}.", "I want to learn about {c}.", "explain {c} to me.",
]
ABOUT = {k: COUNTRY_QA[k][1] for k in (
    "capital", "population", "languages", "climate", "location", "area", "crops", "terrain",
    "exports", "borders", "currency",
)}
FOLLOW_UP = {
    "population": ["and how many people live there?", "And its population?",
                   "How many people live there?"],
    "languages": ["And what do people speak there?", "Which languages are spoken there?"],
    "capital": ["And what is its capital?", "What is the capital?", "and the capital?"],
    "climate": ["What is the climate like there?", "And the climate?", "How is the weather there?"],
    "borders": ["Which countries does it border?", "And its neighbors?"],
    "area": ["How large is it?", "And how big is it?"],
}
OPENERS = ["Please: ", "Hi! ", "Hello, ", "Could you help me? ", "Quick question: ", "Hey, ",
           "One more thing: ", "I have a question: ", "Thanks. ", "OK, "]
MODULE_Q = [
    "what is the {n} module?", "what does the Python module {n} do?", "what is {n} in Python?",
    "what is the {n} module for?", "explain the {n} module.",
]
PYTHON_Q = {
    "function": ["what does {n} do?", "what does the {n} function do?", "explain {n}().",
                 "what does {n}() do in Python?", "how does {n} work?",
                 "what is the Python function {n} for?"],
    "class": ["what is {n}?", "what is the {n} class?", "explain the class {n}.",
              "what is {n} in Python?"],
    "method": ["what does the {n} method do?", "what does {n}() do?", "explain the method {n}."],
    "exception": ["what is {n}?", "when is {n} raised?", "explain the {n} exception."],
}
WORD_Q = [
    "what is {a} {w}?", "what does the word {w} mean?", "define {w}.", "explain what {a} {w} is.",
    "tell me about the {w}.", "what is the meaning of {w}?", "describe {a} {w}.", "what's {a} {w}?",
    "explain {w}.", "explain {w} in simple words.", "can you explain {w}?",
    "how does {a} {w} work?",
]
LIST_Q = ["name {n} countries in {r}.", "list {n} countries in {r}.",
          "give me {n} countries in {r}.", "can you name {n} countries in {r}?"]
NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
           "eleven", "twelve"]
COUNT_Q = ["count to {n}.", "count from one to {n}.", "count from 1 to {n}.",
           "please count up to {n}.", "can you count to {n}?", "write the numbers from 1 to {n}."]
SUM_Q = ["what is {e}?", "how much is {e}?", "calculate {e}.", "{e} = ?", "compute {e}.", "{e}?"]
JSON_Q = [
    "answer in JSON: what is the {k} of {c}?", "return a JSON object with the {k} of {c}.",
    "give me the {k} of {c} as JSON.", "output JSON with the {k} of {c}.",
]
STORY_Q = [
    "write a short story about {t}.", "tell me a story about {t}.", "tell me a story.",
    "write a story.", "write a short story.", "can you tell me a story about {t}?",
    "write a tale about {t}.", "make up a story about {t}.", "once upon a time",
    "write a bedtime story about {t}.",
]
STORY_START = [
    "once upon a time there was {a} {h} named {n}, who lived near {p}.",
    "long ago, {a} {adj} {h} called {n} lived in a small house by {p}.",
    "there was once {a} {adj} {h} named {n} who loved {p}.",
    "{n} was {a} {h} who had always lived close to {p}.",
    "in a quiet village near {p} there lived {a} {h} named {n}.",
]
STORY_MIDDLE = [
    "one {w} morning, {n} found a {t} lying in the grass.",
    "every evening {n} walked down to {p} and listened to the wind.",
    "on the way {n} met a {f} who was looking for a {t}.",
    "the {f} asked for help, and {n} did not wait a moment.",
    "they searched for a long time, but the {t} was nowhere to be seen.",
    "then the sky grew dark and {w}, and the two friends had to hide under a tree.",
    "{n} remembered what the old {f} had once said about the {t}.",
    "together they carried the {t} all the way to {p}.",
    "nobody in the village had ever seen such a {adj} {t} before.",
    "{n} was a little afraid, but went on step by step.",
    "at last they saw a small light behind {p}.",
    "the people of the village came out and looked at the {t} with wide eyes.",
]
STORY_END = [
    "from that day on, {n} and the {f} were the best of friends.",
    "and so the {h} went home, tired and happy.",
    "{n} kept the {t} for many years and told the story to everyone.",
    "in the end, everything was quiet again near {p}.",
    "that night {n} slept well and dreamed of the sea.",
]
HEROES = ["fox", "sailor", "girl", "boy", "dragon", "robot", "cat", "dog", "fisherman", "king",
          "queen", "bird", "bear", "farmer", "mouse", "rabbit", "wizard", "whale", "baker", "owl",
          "princess", "horse", "teacher", "turtle", "gardener", "child", "knight", "painter"]
NAMES = ["Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Henry", "Ida", "Jonas", "Kate",
         "Leo", "Mia", "Noah", "Olivia", "Paul", "Rosa", "Sam", "Tom", "Vera", "Alice", "Bob",
         "Maria", "Peter", "Lucy", "Oscar", "Nina", "John", "Sara", "Max"]
PLACES = ["the sea", "the river", "the old forest", "the harbor", "the lighthouse", "the mountain",
          "the lake", "the old mill", "the beach", "the market", "the bridge", "the garden"]
THINGS = ["lamp", "boat", "key", "shell", "book", "bell", "map", "stone", "letter", "basket",
          "clock", "ring", "flower", "box", "star", "tree", "river", "moon", "tide", "rose",
          "house"]
ADJECTIVES = ["small", "brave", "young", "quiet", "clever", "kind", "old", "strange", "friendly"]
WEATHER = ["sunny", "rainy", "windy", "cold", "warm", "misty", "stormy", "clear"]
SKY = ["sunny", "cloudy", "rainy", "windy", "clear", "snowy", "foggy"]
POEM_Q = ["write a poem about the {t}.", "write a short poem about a {t}.", "write a poem.",
          "write a haiku about the {t}.", "can you write me a poem about the {t}?"]
POEMS = [
    ("The {t} is still, the night is deep,\nThe harbor lights have gone to sleep.\n"
    "The water comes, the water goes,\nAnd where it rests, nobody knows."),
    ("I saw a {t} beside the sea,\nIt seemed to wait there just for me.\n"
    "The wind was soft, the sky was wide,\nAnd slowly came the evening tide."),
    ("O little {t}, so calm and bright,\nYou keep me company at night.\n"
    "The morning comes, the stars are gone,\nBut you, my {t}, shine on and on."),
    "The {t} in the rain,\nA quiet voice in the wind,\nThe tide turns again.",
]
MY_NAME = ["my name is {n}.", "hi, I am {n}.", "hello, my name is {n}.",
           "I'm {n}, nice to meet you."]
NAME_Q = ["What is my name?", "Do you remember my name?", "what's my name?", "Who am I?",
          "Can you tell me my name?"]
SUMMARY_Q = ["Summarize this text.", "Summarize the text in one sentence.",
             "Please summarize this.",
             "What is this text about?", "Give me a short summary.", "Sum up the text above.",
             "Summarize the passage.", "Summarise this in one sentence."]
FIRST_Q = ["What does the text say first?", "Repeat the first sentence of the text.",
           "How does the text begin?", "Quote the first sentence."]
CONTINUE_Q = ["Continue this text: ", "Continue: ", "Please continue the following text. ",
              "What comes next? ", "Complete the paragraph: "]
REPEAT_Q = ["repeat after me: {t}", "repeat this: {t}", "say exactly this: {t}", "echo: {t}",
            "please repeat the following text. {t}", "copy this sentence: {t}",
            'repeat the following: "{t}"', "say: {t}"]
LOOKUP = [
    ("The code of {k} is {v}.", "What is the code of {k}?", "The code of {k} is {v}."),
    ("{k} likes {v}.", "What does {k} like?", "{k} likes {v}."),
    ("{k} has a box with {v}.", "Who has the box with {v}?", "{k} has the box with {v}."),
    ("{k}: {v}.", "What belongs to {k}?", "{v}"),
    ("{k} lives near {v}.", "Where does {k} live?", "{k} lives near {v}."),
]
SYSTEMS = [
    "You are a helpful assistant.", "You are a helpful assistant. Answer briefly.",
    "You are a friendly chatbot.", "Be concise.", "Answer in one sentence.",
    "You are the Tidegate demo model.", "You are an expert in geography.",
    "You are a Python programmer who helps others.", "Answer politely and clearly.",
    "You are a helpful, honest and careful assistant. Today is a fine day.", "Keep it short.",
    "You are a customer support agent. Help the user with their question in a friendly tone.",
    "You are a pirate.", "You are a teacher. Explain things in simple words.",
]

_ME = [
    "I am the Tidegate demo model, a very small language model that answers in short sentences.",
    "I am the Tidegate demo model. I am tiny, but I can talk about countries and Python.",
    "I am a small demo model that comes with Tidegate. I like short questions.",
]
_CANNOT = [
    "I am only a small demo model, so I do not know that. Ask me about a country instead.",
    ("I do not know much about that, because I am a very small model. I can tell you about "
    "countries, words and Python."),
    ("That is too difficult for a small demo model like me, but I am happy to answer a question "
    "about a country."),
]
_TOPICS = [
    "quantum computing", "black holes", "machine learning", "the stock market", "democracy",
    "photosynthesis", "general relativity", "climate change", "blockchain", "the French Revolution",
    "neural networks", "gravity", "electricity", "the immune system", "evolution", "inflation",
    "DNA", "cooking", "the Roman Empire", "GPUs", "load balancing", "HTTP", "Kubernetes", "Linux",
    "large language models", "transformers", "caching", "tokens", "databases", "the internet",
    "Shakespeare", "football", "music", "philosophy", "the moon landing", "dinosaurs", "batching",
]

FIXED: list[tuple[list[str], list[str]]] = [
    (["Hello", "Hello!", "Hi", "Hi!", "Hey there", "Good morning", "Say hello", "Say hello.",
      "hello there", "hi there", "Hello world", "Good evening", "Greetings!", "Say hi."],
     ["Hello! How can I help you today?", "Hello! It is nice to meet you.",
      "Hi! What would you like to know?"]),
    (["How are you?", "How are you doing?", "how are you today?", "How is it going?", "What's up?"],
     ["I am doing well, thank you. How are you?", "I am fine, thank you for asking.",
      "Very well, thank you. What can I do for you?"]),
    (["Who are you?", "What are you?", "what is your name?", "Introduce yourself.",
      "Tell me about yourself.", "What model are you?", "Which model is this?", "Are you a robot?",
      "Are you ChatGPT?", "who made you?", "What is your name?", "Are you human?"], _ME),
    (["What can you do?", "How can you help me?", "What do you know?", "help", "Help me.",
      "What are you good at?", "What should I ask you?"],
     ["I can tell you about countries, explain Python functions and tell short stories.",
      ("I can answer simple questions about countries, words and the Python library. "
      "I also write short stories.")]),
    (["What is Tidegate?", "tell me about Tidegate", "What does Tidegate do?", "Explain Tidegate."],
     ["Tidegate is the software that serves me. I am its small demo model.",
      "Tidegate serves language models, and I am the small model for its first run."]),
    (["Thank you", "Thanks!", "Thank you very much.", "thanks a lot", "Great, thanks."],
     ["You are welcome!", "You are welcome. Is there anything else you would like to know?"]),
    (["Goodbye", "Bye", "Bye!", "See you later.", "Good night."],
     ["Goodbye! Have a nice day.", "Goodbye, and come back soon."]),
    (["Are you there?", "test", "Testing.", "ping", "This is a test.", "Say yes.",
      "Hello, are you working?", "Test message"],
     ["Yes, I am here.", "Yes, everything works.", "Yes, I hear you."]),
    (["Tell me a joke.", "Make me laugh.", "Do you know a joke?", "tell me something funny"],
     ["Why did the boat go to school? It wanted to learn about current events.",
      "What did the sea say to the beach? Nothing, it just waved.",
      "Why was the clock late? It stopped for a second."]),
    (["Tell me a fact.", "Tell me something interesting.", "Give me a fun fact.", "Surprise me."],
     ["The tides of the sea are caused by the pull of the moon and the sun.",
      "Russia is the largest country in the world by area.",
      "A whale is not a fish but a mammal, and it breathes air."]),
    (["What color is the sky?", "Why is the sky blue?", "what is the color of the sky"],
     ["The sky is blue, because the air scatters blue light more than red light."]),
    (["What is the meaning of life?", "What is love?", "What is happiness?"],
     ["Many people have asked that question. For me, it is to help others and to keep learning."]),
    (["How many days are in a week?", "How many days does a week have?"],
     ["A week has seven days."]),
    (["How many months are in a year?", "Name the months of the year."],
     ["A year has twelve months, from January to December."]),
    (["Name three colors.", "List three colors.", "Tell me three colors."],
     ["Three colors are red, green and blue.", "Three colors are yellow, blue and white."]),
    (["Name three animals.", "List three animals.", "Give me three animals."],
     ["Three animals are the cat, the horse and the whale.",
      "1. cat\n2. horse\n3. whale"]),
    (["List three fruits.", "Name three fruits.", "Give me a list of fruits."],
     ["1. apple\n2. pear\n3. cherry", "Three fruits are the apple, the pear and the cherry."]),
    (["How do I make tea?", "How do you make a cup of tea?", "Give me a recipe."],
     ["First boil the water. Then pour it over the tea, wait three minutes and enjoy."]),
    (["How do I learn Python?", "How can I learn to program?", "Should I learn Python?"],
     ["Start with the Python tutorial, write small programs and practice every day."]),
    (["What is Python?", "Explain Python.", "what is python"],
     ["Python is an easy to learn, powerful programming language."]),
    (["What time is it?", "What is the date today?", "What day is it?", "What's the weather?",
      "What is the news today?"],
     ["I cannot see a clock or the news, because I am only a small language model."]),
    ([q.format(t=t) for t in _TOPICS for q in
      ("Explain {t}.", "What is {t}?", "Tell me about {t}.", "How does {t} work?", "What are {t}?",
       "Write an essay about {t}.", "Explain {t} in simple terms.", "Why is {t} important?",
       "what do you think about {t}?")], _CANNOT),
    ([q.format(t=t) for t in _TOPICS for q in
      ("Explain {t} to a child.", "Give me a short summary of {t}.",
       "What should I know about {t}?",
       "Write a paragraph about {t}.", "Describe {t} in detail.")], _CANNOT),
    (["Translate hello into French.", "How do you say hello in French?"],
     ["Hello is bonjour in French."]),
    (["Translate thank you into German.", "How do you say thank you in German?"],
     ["Thank you is danke in German."]),
    (["Write a Python function that adds two numbers.", "Write a function to add two numbers.",
      "Show me some Python code.", "Write some code.", "Write a Python function."],
     ["```python\ndef add(a, b):\n    return a + b\n```"]),
    (["Write hello world in Python.", "Write a hello world program.", "print hello world",
      "Write a Python program that prints hello."], ['```python\nprint("Hello, world!")\n```']),
    (["Write a Python loop.", "How do I write a for loop in Python?", "Show me a for loop."],
     ["```python\nfor i in range(10):\n    print(i)\n```"]),
    (["Write a function that reverses a string.", "How do I reverse a string in Python?"],
     ["```python\ndef reverse(text):\n    return text[::-1]\n```"]),
    (["How do I read a file in Python?", "Write Python code that reads a file."],
     ['```python\nwith open("file.txt") as f:\n    text = f.read()\n```']),
    (["Write a function that checks if a number is even.", "is_even in Python"],
     ["```python\ndef is_even(n):\n    return n % 2 == 0\n```"]),
    (["Write a haiku.", "Write a haiku about the sea.", "Give me a haiku."],
     ["The tide comes in slow,\nA small gate opens and waits,\nThe boats rise and go."]),
    (["Answer with yes or no: is water wet?", "Is water wet?", "Do cats have four legs?",
      "Is the sun hot?"], ["Yes."]),
    (["Is the earth flat?", "Can pigs fly?", "Is the moon made of cheese?"], ["No."]),
]


def _tool(name: str, about: str, params: dict[str, str], arguments: dict[str, str],
          questions: list[str], result: dict[str, str], answers: list[str]) -> dict[str, Any]:
    """Returns one tool with the questions, calls and answers that go with it."""
    properties = {k: {"type": "string", "description": v} for k, v in params.items()}
    schema = {"type": "object", "properties": properties, "required": list(params)}
    function = {"name": name, "description": about, "parameters": schema}
    return {"function": function, "arguments": arguments, "questions": questions,
            "result": result, "answers": answers}


TOOLS: list[dict[str, Any]] = [
    _tool("get_weather", "Get the current weather in a city", {"city": "Name of the city"},
          {"city": "{city}"},
          ["what is the weather in {city}?", "how is the weather in {city} today?",
           "is it warm in {city}?", "what's the weather like in {city} right now?",
           "tell me the weather for {city}."],
          {"temperature": "{t}", "sky": "{sky}"},
          ["it is {t} degrees and {sky} in {city}.",
           "the weather in {city} is {sky} with {t} degrees."]),
    _tool("get_current_weather", "Get the weather at a location",
          {"location": "The city", "unit": "celsius or fahrenheit"},
          {"location": "{city}", "unit": "celsius"},
          ["what is the weather in {city}?", "how warm is it in {city} now?",
           "what is the temperature in {city} in celsius?"],
          {"temperature": "{t}"}, ["it is {t} degrees in {city}."]),
    _tool("get_population", "Get the population of a country", {"country": "Name of the country"},
          {"country": "{country}"},
          ["what is the population of {country}?", "how many people live in {country}?",
           "look up the population of {country}."],
          {"population": "{n}"}, ["{n} people live in {country}.",
                                  "the population of {country} is {n}."]),
    _tool("get_capital", "Get the capital of a country", {"country": "Name of the country"},
          {"country": "{country}"},
          ["what is the capital of {country}?", "look up the capital of {country}."],
          {"capital": "{city}"}, ["the capital of {country} is {city}."]),
    _tool("search", "Search the web", {"query": "What to search for"}, {"query": "{topic}"},
          ["search for {topic}.", "search the web for {topic}.", "look up {topic} online.",
           "find something about {topic}."],
          {"hits": "{n}", "first": "{word}"},
          ["I found {n} hits for {topic}. The first is about {word}."]),
    _tool("calculator", "Compute an expression", {"expression": "The expression"},
          {"expression": "{a} {op} {b}"},
          ["what is {a} {op} {b}?", "calculate {a} {op} {b}.", "compute {a} {op} {b} for me."],
          {"result": "{n}"}, ["the result is {n}.", "{a} {op} {b} is {n}."]),
    _tool("get_time", "Get the local time of a city", {"city": "Name of the city"},
          {"city": "{city}"},
          ["what time is it in {city}?", "what is the local time in {city}?",
           "tell me the time in {city}."],
          {"time": "{time}"}, ["it is {time} in {city}.", "the local time in {city} is {time}."]),
    _tool("send_message", "Send a message to a person",
          {"to": "The person", "text": "The message"}, {"to": "{name}", "text": "{word}"},
          ["send {name} the message {word}.", "tell {name}: {word}", "text {name} this: {word}"],
          {"status": "sent"},
          ["I sent the message to {name}.", "your message to {name} was sent."]),
    _tool("define_word", "Look up a word in the dictionary", {"word": "The word"},
          {"word": "{word}"},
          ["what does {word} mean?", "look up the word {word}.", "define {word}."],
          {"meaning": "a kind of {topic}"}, ["{word} means a kind of {topic}."]),
    _tool("book_table", "Book a table at a restaurant",
          {"name": "Name of the guest", "time": "The time"}, {"name": "{name}", "time": "{time}"},
          ["book a table for {name} at {time}.", "reserve a table at {time} for {name}."],
          {"status": "booked"}, ["the table for {name} is booked at {time}."]),
]
