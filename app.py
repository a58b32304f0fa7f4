"""The page in the browser, from the command line and as a Hugging Face Space: riff/app/ is all of it.

python app.py
"""

from riff.app.command import main

if __name__ == "__main__":
    main()
