"""What things look like: colours and labels painted on the surfaces, and the light."""
